// Words: what conditions, states and steps are called on the page, and which of the five states (DESIGN.md) they are.
import type { Incident, Next } from './api';
import type { Told } from './events';
import { percent, plain, span, when } from './format';
import type { NodeRow } from './live.svelte';

export type Mark = 'well' | 'handled' | 'attention' | 'trouble' | 'off' | 'unknown';

const WORDS: Record<string, string> = {
  VM_CRASHED: 'crashed',
  CT_CRASHED: 'crashed',
  VM_FAULT: 'cannot work',
  HA_ERROR: 'given up by HA',
  NODE_UNREACHABLE: 'left the cluster',
  NODE_API_DOWN: 'does not answer calls',
  SERVICE_DOWN: 'is down',
  STATS_STALE: 'shows old figures',
  DISK_HIGH: 'disk is filling up',
  DISK_CRITICAL: 'disk is nearly full',
  RAM_HIGH: 'memory is high',
  RAM_CRITICAL: 'memory is nearly full',
  CPU_HIGH: 'CPU is high',
  STORAGE_HIGH: 'is filling up',
  STORAGE_CRITICAL: 'is nearly full',
  STORAGE_OFFLINE: 'is offline',
  TEMP_HIGH: 'is hot',
  QUORUM_LOST: 'has no quorum',
  MONITOR_BLIND: 'cannot be seen',
};

export const CONDITIONS = Object.keys(WORDS);
export const conditionWords = (condition: string): string => WORDS[condition] ?? condition.toLowerCase().replaceAll('_', ' ');

/** What is or was wrong, in words that follow the subject. */
export function troubleWords({ type, details }: Incident): string {
  const { cause } = (details ?? {}) as { cause?: unknown };
  return cause === 'node restart' ? 'was not started again' : conditionWords(type);
}

/** `VM`, `Container`, ... before a subject's name. */
export function kindWords(subject: string): string {
  const kind = subject.split('/')[0];
  switch (kind) {
    case 'qemu':
      return 'VM';
    case 'lxc':
      return 'Container';
    case 'node':
      return 'Node';
    case 'storage':
      return 'Storage';
    case 'service':
      return 'Service';
    default:
      return 'Cluster';
  }
}

/** The name of what an incident is about; of what has none, the last part of PVE's id. */
export const targetWords = ({ target, subject }: Incident): string => (target === subject ? (subject.split('/').at(-1) ?? subject) : target);

/** Whether what comes next comes by itself. */
export function isHandled(next: Next): boolean {
  switch (next.step) {
    case 'acts':
    case 'verifies':
    case 'looks':
      return true;
    case 'held':
      return next.holds.every((hold) => hold.wait);
    default:
      return false;
  }
}

/** Whether it is announced work that something waits for: where nothing would be done anyway, and people were called, it holds nothing. */
function isHeldByWork({ maintenance, next }: Incident): boolean {
  switch (next?.step) {
    case 'held':
    case 'looks':
    case 'proposed':
      return !!maintenance;
    default:
      return false;
  }
}

export function incidentMark(incident: Incident): Mark {
  if (incident.state === 'resolved') return 'well';
  const { next } = incident;
  // Somebody works on it, said so, and wants to hear nothing of it.
  if (isHeldByWork(incident)) return 'handled';
  if (next && (isHandled(next) || next.dismissedBy || next.acknowledgedBy)) return 'handled';
  return incident.severity === 'error' || incident.severity === 'critical' ? 'trouble' : 'attention';
}

/** Whether a person is waited for. */
export const needsPerson = (incident: Incident): boolean => {
  const mark = incidentMark(incident);
  return mark === 'trouble' || mark === 'attention';
};

const upper = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** What comes next, as of now, and announced work beside it. */
export function nextWords(incident: Incident, now: number): string {
  const { state, maintenance } = incident;
  if (state === 'resolved' || !maintenance) return stepWords(incident, now);
  const work = `maintenance until ${when(maintenance.until, now)}`;
  return isHeldByWork(incident) ? `Held: ${work}` : `${stepWords(incident, now)} (${work})`;
}

function stepWords(incident: Incident, now: number): string {
  const { next } = incident;
  if (incident.state === 'resolved') return 'Over';
  if (!next) return 'Open';
  const action = next.action ?? 'it';
  const left = next.until ? Math.max(0, Date.parse(next.until) - now) : undefined;
  switch (next.step) {
    case 'nothing':
      return 'For a person: Jarvis has no runbook for it';
    case 'looks':
      return 'Being looked at';
    case 'people':
      return 'For a person: it was tried as often as its runbook allows, and no more is done';
    case 'proposed':
      return `Proposed: ${action}`;
    case 'acts':
      return `${upper(action)}: under way, attempt ${next.attempt} of ${next.of}`;
    case 'verifies':
      return `Done: ${action}. Seeing whether it helped, attempt ${next.attempt} of ${next.of}`;
    case 'held': {
      if (isHandled(next)) {
        if (left !== undefined && left > 0) return `${upper(action)} in ${span(left)}`;
        if (left !== undefined) return `${upper(action)} any moment`;
      }
      const holds = holdsNow(next, now);
      return holds.length > 0 ? `Held: ${holds.map((hold) => hold.words).join('; ')}` : `${upper(action)} any moment`;
    }
  }
}

/** What stands with an open incident: who it waits for, or that Jarvis is at it. */
export type Standing = 'person' | 'way' | 'maintenance' | 'dismissed' | 'seen';

export function standingOf(incident: Incident): Standing {
  const { next, maintenance } = incident;
  if (needsPerson(incident)) return 'person';
  if (next?.step === 'acts' || next?.step === 'verifies') return 'way';
  if (maintenance) return 'maintenance';
  if (next?.dismissedBy) return 'dismissed';
  return next && isHandled(next) ? 'way' : 'seen';
}

/** `2 under way, 1 held by maintenance until 20:24`: what stands with those that wait for nobody. */
export function standingWords(incidents: Incident[], now: number): string {
  const all = incidents.map((incident) => ({ incident, standing: standingOf(incident) }));
  const number = (wanted: Standing): number => all.filter(({ standing }) => standing === wanted).length;
  const ends = all.flatMap(({ incident, standing }) => (standing === 'maintenance' && incident.maintenance ? [Date.parse(incident.maintenance.until)] : []));
  const last = Math.max(...ends);
  const until = ends.length > 0 ? ` until ${when(last, now)}${ends.some((end) => end !== last) ? ' at the latest' : ''}` : '';
  const parts: [number, string][] = [
    [number('way'), 'under way'],
    [number('maintenance'), `held by maintenance${until}`],
    [number('dismissed'), 'dismissed'],
    [number('seen'), 'seen by somebody'],
  ];
  return parts.flatMap(([many, words]) => (many > 0 ? [`${many.toLocaleString()} ${words}`] : [])).join(', ');
}

const RESOLUTIONS: Record<string, string> = {
  itself: 'over by itself',
  removed: 'its subject is gone',
  unwatched: 'not watched any more',
  superseded: 'part of something worse',
  mended: 'mended by Jarvis',
  closed: 'closed by an operator',
  anew: 'told again after a new start',
};
export const resolutionWords = (word: string | null | undefined): string => (word ? (RESOLUTIONS[word] ?? word) : 'over');

export const LEVELS = [
  ['Observe', 'Jarvis watches and writes down what happens. It proposes nothing and touches nothing.'],
  ['Alert', 'Jarvis watches and tells. It proposes nothing and touches nothing.'],
  ['Recommend', 'Jarvis proposes what could be done, and does it when an operator approves.'],
  ['Act and report', 'Jarvis does what its runbooks allow, and tells of it.'],
  ['Act silently', 'Jarvis does what its runbooks allow; the journal and the activity say so.'],
] as const;

/** What objects as of now: a wait that has passed objects no more, until the server says anew what does. */
export const holdsNow = (next: Next, now: number): Next['holds'] =>
  next.holds.filter(({ until }) => !until || Date.parse(until) > now).map((hold) => ({ ...hold, words: plain(hold.words) }));

const UNITS: Record<string, string> = { temperature: ' °C' };
/** `97 % now`: the figure of what passed its mark, as it is seen at its node, or else as it was told. */
export function valueWords({ details, state }: Incident, node: NodeRow | undefined): string | undefined {
  const { metric, value } = (details ?? {}) as { metric?: unknown; value?: unknown };
  if (typeof value !== 'number' || typeof metric !== 'string') return undefined;
  const seen = state === 'open' && node?.status === 'online' ? partOf(metric, node) : undefined;
  if (seen !== undefined) return `${percent(seen)} now`;
  const told = `${Math.round(value)}${UNITS[metric] ?? ' %'}`;
  return state === 'open' ? `${told} when it was told` : `was ${told}`;
}

function partOf(metric: string, { cpu, mem, maxmem, disk, maxdisk }: NodeRow): number | undefined {
  switch (metric) {
    case 'cpu_percent':
      return cpu;
    case 'mem_percent':
      return maxmem > 0 ? mem / maxmem : undefined;
    case 'disk_percent':
      return maxdisk > 0 ? disk / maxdisk : undefined;
    default:
      return undefined;
  }
}

/**
 * The title of an event as people say it. Programs know a condition by its word (`Resolved: VM_CRASHED on pve1`); people know the
 * guest: `Resolved: VM web01 crashed`.
 */
export function titleWords({ title, condition, subject, node }: Told, name: string | undefined): string {
  if (!subject) return title;
  const called = name ?? subject.split('/').at(-1) ?? subject;
  const what = `${kindWords(subject)} ${called}`;
  if (condition && title.includes(condition)) {
    const words = title.replace(condition, `${what} ${conditionWords(condition)}`);
    return node && called === node ? words.replace(` on ${node}`, '') : words;
  }
  return title.startsWith('Remediation') && !title.includes(called) ? `${title}, for ${what}` : title;
}
