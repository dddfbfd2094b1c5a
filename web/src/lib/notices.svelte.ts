// Notices: announced work and silences that hold or are to come, and which of them mean a guest or a node.
import { get, type Schemas } from './api';
import { live, type GuestRow } from './live.svelte';

export type Maintenance = Schemas['Maintenance'];
export type Silence = Schemas['Silence'];
export type Kind = 'maintenance' | 'silences';
export type Notice = (Maintenance & { kind: 'maintenance' }) | (Silence & { kind: 'silences' });

/** One that begins or ends by itself is no event, so they are asked for now and then. */
const EVERY = 15_000;

let maintenance = $state.raw<Maintenance[]>([]);
let silences = $state.raw<Silence[]>([]);

const both = (): Notice[] => [
  ...maintenance.map((one): Notice => ({ ...one, kind: 'maintenance' })),
  ...silences.map((one): Notice => ({ ...one, kind: 'silences' })),
];

export const notices = {
  /** Those that hold or are to come. */
  get open(): Notice[] {
    return both();
  },
  get inForce(): Notice[] {
    return both().filter(({ state }) => state === 'inForce');
  },
};

export async function refreshNotices(): Promise<void> {
  const [works, quiet] = await Promise.all([
    get<Schemas['MaintenanceList']>('/api/v1/maintenance'),
    get<Schemas['SilenceList']>('/api/v1/silences'),
  ]);
  [maintenance, silences] = [works.items, quiet.items];
}

/** Keeps them up to date until it is told to stop. */
export function startNotices(): () => void {
  [maintenance, silences] = [[], []];
  const read = (): void => {
    refreshNotices().catch(() => {
      // They stay as they were; that nobody answers is said elsewhere.
    });
  };
  read();
  const reading = setInterval(read, EVERY);
  const ends = live.onEvent((event) => {
    if (event.type === 'status' || event.source === 'user') read();
  });
  return () => {
    clearInterval(reading);
    ends();
  };
}

/** Until when one holds that holds now. */
export const untilOf = (notice: Notice): string | undefined => (notice.kind === 'maintenance' ? notice.current?.until : notice.until) ?? undefined;

/** What is asked about: a node, or a guest as it is seen. */
export type Thing = { cluster: string; node: string; guest?: GuestRow | undefined; subject: string };

/** Whether a notice means it, as the engine's `about.rs` has it. */
export function means({ cluster, subject }: Notice, thing: Thing): boolean {
  if (cluster && cluster !== thing.cluster) return false;
  if (subject === 'cluster' || subject === thing.subject || subject === `node/${thing.node}`) return true;
  const at = subject.indexOf(':');
  if (at < 0) return false;
  const word = subject.slice(at + 1);
  switch (subject.slice(0, at)) {
    case 'tag':
      return (thing.guest?.tags ?? '').split(';').some((tag) => tag.toLowerCase() === word.toLowerCase());
    case 'pool':
      return thing.guest?.pool === word;
    case 'name':
      return thing.node === word || thing.guest?.name === word;
    default:
      return false;
  }
}
