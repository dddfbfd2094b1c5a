// Live: what the sockets send, put together: each cluster's picture by versions, and each event once and in order.
//
// What does not fit together is asked for anew. While nobody is connected everything stays as it was, and `connected` says so.
import { Manager, type Socket } from 'socket.io-client';
import { get, post, withQuery, wordsOf, Refused, type Event, type Incident, type Schemas } from './api';
import { fromApi, fromSocket, killSwitchOf, type SocketEvent, type Told } from './events';

export type NodeRow = {
  id: string;
  name: string;
  host: string;
  status: 'online' | 'offline' | 'unknown';
  cpu: number;
  maxcpu: number;
  mem: number;
  maxmem: number;
  disk: number;
  maxdisk: number;
  startedAt: number | null;
  temperatures: Record<string, number>;
  ha?: string | null;
};
export type GuestRow = {
  id: string;
  vmid: number;
  name: string;
  type: 'qemu' | 'lxc';
  status: string;
  node: string;
  cpu: number;
  maxcpu: number;
  mem: number;
  maxmem: number;
  disk: number;
  maxdisk: number;
  netin: number;
  netout: number;
  startedAt: number | null;
  tags?: string;
  pool?: string | null;
  lock?: string | null;
  ha?: string | null;
  template?: boolean;
};
export type StorageRow = {
  id: string;
  storage: string;
  node: string;
  type: string;
  status: 'active' | 'inactive';
  used: number;
  avail: number;
  total: number;
  content: string;
  shared?: boolean;
};
type Quorum = { quorate: boolean; nodes: number; expected: number };
type Part = 'nodes' | 'guests' | 'storages' | 'quorum';
type SeenAt = Record<Part, string | null>;
type Rows<T> = ReadonlyMap<string, T>;
export type Cluster = {
  name: string;
  version: number;
  seeing: boolean;
  seenAt: SeenAt;
  nodes: Rows<NodeRow> | undefined;
  guests: Rows<GuestRow> | undefined;
  storages: Rows<StorageRow> | undefined;
  quorum: Quorum | undefined;
};

type Row = { id: string };
type Change = { set: (Row & Record<string, unknown>)[]; gone: string[] };
type Head = { cluster: string; seenAt: SeenAt; seeing: boolean };
type Snapshot = Head & { version: number; nodes: NodeRow[] | null; guests: GuestRow[] | null; storages: StorageRow[] | null; quorum: Quorum | null };
type Delta = Head & { from: number; to: number; nodes?: Change; guests?: Change; storages?: Change; quorum?: Quorum };
type Seen = Head & { version: number };

/** Events that a page holds; older ones are read from the store when somebody scrolls to them. */
const EVENTS_MAX = 500;
/** Open incidents that are shown. */
const OPEN_MAX = 200;
/** What comes next changes without an event (a wait that begins or ends), so it is asked for while something is open. */
const OPEN_EVERY = 3_000;
/** The same while all is quiet, and for what is in force, in case something was lost. */
const QUIET_EVERY = 15_000;
/** A page that is not connected after this long says so; before, it is only opening. */
const OPENS_WITHIN = 4_000;
/** How long a refused socket waits before it shows another ticket, and how long what failed is left before it is asked for again. */
const AGAIN = 2_000;
/** Older than that, by the world's clock, what is shown is old: nodes and guests are asked for each 10 and 15 s. */
const OLD_AFTER: Record<Part, number> = { nodes: 45_000, guests: 45_000, storages: 90_000, quorum: 45_000 };

let clusters = $state.raw<Record<string, Cluster>>({});
let order = $state.raw<string[]>([]);
let connected = $state(false);
/** Whether the page should be connected by now. */
let due = $state(false);
let lostAt = $state<number | undefined>(undefined);
let events = $state.raw<Told[]>([]);
let open = $state.raw<Incident[] | undefined>(undefined);
let openTruncated = $state(false);
let openError = $state<string | undefined>(undefined);
let inForce = $state.raw<Schemas['MonitorStatus'] | undefined>(undefined);
/** Whether Jarvis is stopped; how often it was heard to change. */
let stopped = $state<boolean | undefined>(undefined);
let turns = $state(0);
/** What cannot be read though it should be here by now, and why. */
let unread = $state.raw<Record<string, string>>({});
let newest: number | undefined;
/** Whose answers these are: those to questions of a user before are not shown to the next one. */
let life = 0;
let line: Socket | undefined;
const listeners = new Set<(event: Told) => void>();

export const live = {
  get clusters(): Cluster[] {
    return order.flatMap((name) => clusters[name] ?? []);
  },
  cluster: (name: string): Cluster | undefined => clusters[name],
  get connected(): boolean {
    return connected;
  },
  /** Whether it should be connected and is not. */
  get lost(): boolean {
    return due && !connected;
  },
  get lostAt(): number | undefined {
    return lostAt;
  },
  get events(): Told[] {
    return events;
  },
  get open(): Incident[] | undefined {
    return open;
  },
  get openTruncated(): boolean {
    return openTruncated;
  },
  get openError(): string | undefined {
    return openError;
  },
  get inForce(): Schemas['MonitorStatus'] | undefined {
    return inForce;
  },
  /** Whether the kill switch is on; nothing where that is not known. */
  get stopped(): boolean | undefined {
    return stopped;
  },
  /** Another number each time that it is turned. */
  get turns(): number {
    return turns;
  },
  get unread(): [what: string, why: string][] {
    return Object.entries(unread);
  },
  /** Why a part of a cluster's picture is not how it is now; nothing where it is. */
  old(cluster: Cluster, part: Part, now: number, pace: number): 'disconnected' | 'unseen' | 'old' | undefined {
    if (!connected) return 'disconnected';
    const seenAt = cluster.seenAt[part];
    if (!seenAt) return 'unseen';
    if (!cluster.seeing) return 'old';
    return (now - Date.parse(seenAt)) / pace > OLD_AFTER[part] ? 'old' : undefined;
  },
  onEvent(told: (event: Told) => void): () => void {
    listeners.add(told);
    return () => listeners.delete(told);
  },
};

function table<T extends Row>(rows: T[] | null): Rows<T> | undefined {
  return rows ? new Map(rows.map((row) => [row.id, row])) : undefined;
}

function changed<T extends Row>(before: Rows<T> | undefined, change: Change | undefined): Rows<T> | undefined {
  if (!change) return before;
  const rows = new Map(before);
  for (const set of change.set) rows.set(set.id, { ...rows.get(set.id), ...set } as unknown as T);
  for (const id of change.gone) rows.delete(id);
  return rows;
}

function put(cluster: Cluster): void {
  clusters = { ...clusters, [cluster.name]: cluster };
  if (!order.includes(cluster.name)) order = [...order, cluster.name];
}

function onSnapshot({ cluster: name, version, seeing, seenAt, nodes, guests, storages, quorum }: Snapshot): void {
  put({ name, version, seeing, seenAt, nodes: table(nodes), guests: table(guests), storages: table(storages), quorum: quorum ?? undefined });
}

export async function refreshOpen(): Promise<void> {
  const mine = life;
  try {
    const page = await get<Schemas['IncidentList']>(withQuery('/api/v1/incidents', { state: 'open', limit: OPEN_MAX }));
    if (mine !== life) return;
    open = page.items;
    openTruncated = page.next != null;
    openError = undefined;
  } catch (error) {
    openError = wordsOf(error);
  }
}

export async function refreshInForce(): Promise<void> {
  let before: number;
  do {
    before = turns;
    const said = await get<Schemas['MonitorStatus']>('/api/monitor/status');
    // What was turned while this was asked may not be in the answer.
    if (before !== turns) continue;
    inForce = said;
    setKillSwitch(said.killSwitch);
    return;
  } while (before !== turns);
}

/** At once on the screen of whoever turned it; everybody else hears of it by its event. */
export function setKillSwitch(on: boolean): void {
  if (stopped === on) return;
  stopped = on;
  turns += 1;
}

/** Says something by the open line; nothing where there is none, or no answer came in time. */
export async function say<T>(name: string, body: unknown, within: number): Promise<T | undefined> {
  if (!line?.connected) return undefined;
  try {
    return (await line.timeout(within).emitWithAck(name, body)) as T;
  } catch {
    return undefined;
  }
}

function take(event: Told): void {
  if (newest !== undefined && event.seq <= newest) return;
  newest = event.seq;
  events = [event, ...events].slice(0, EVENTS_MAX);
  const turned = killSwitchOf(event);
  if (turned !== undefined) {
    setKillSwitch(turned);
    // A title is a text: what is so is what the server says.
    refreshInForce().catch(() => {});
  }
  for (const told of listeners) told(event);
}

/** The newest events as they are stored, where there are none yet, or some were lost. */
async function readEvents(): Promise<void> {
  const mine = life;
  const page = await get<Schemas['EventList']>(withQuery('/api/v1/events', { limit: 100 }));
  if (mine !== life) return;
  const read = (page.items as Event[]).map(fromApi);
  const known = new Set(read.map((event) => event.seq));
  events = [...events.filter((event) => !known.has(event.seq)), ...read].sort((a, b) => b.seq - a.seq).slice(0, EVENTS_MAX);
  newest = Math.max(newest ?? 0, ...events.map((event) => event.seq));
}

async function ticket(): Promise<string> {
  const { ticket } = await post<Schemas['Ticket']>('/api/v1/session/ticket');
  return ticket;
}

/** What a socket shows when it connects; where no ticket is to be had it is refused, and comes again. */
function shown(more: () => Record<string, unknown>): (give: (auth: object) => void) => void {
  return (give) => {
    ticket().then(
      (token) => give({ token, ...more() }),
      () => give({ token: '', ...more() }),
    );
  };
}

/** Connects and keeps everything up to date until it is told to stop. */
export function startLive(): () => void {
  life += 1;
  clusters = {};
  order = [];
  events = [];
  open = undefined;
  openError = undefined;
  inForce = undefined;
  stopped = undefined;
  unread = {};
  newest = undefined;
  due = false;
  lostAt = Date.now();
  let over = false;
  const timers = new Set<ReturnType<typeof setTimeout>>();
  const later = (wait: number, what: () => void): void => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      if (!over) what();
    }, wait);
    timers.add(timer);
  };

  const manager = new Manager({ reconnectionDelay: 500, reconnectionDelayMax: 5_000, autoConnect: false });
  const versions = (): Record<string, number> => Object.fromEntries(Object.values(clusters).map(({ name, version }) => [name, version]));
  const cluster = manager.socket('/cluster', {
    auth: shown(() => ({ deltas: true, clusters: 'all', since: versions() })),
  });
  // Whether the feed goes on from an event that is here; else what it sends begins somewhere after those that were read.
  let follows = false;
  const feed = manager.socket('/events', {
    auth: shown(() => {
      follows = newest !== undefined;
      return { clusters: 'all', ...(follows ? { since: newest } : {}) };
    }),
  });
  line = feed;

  const both: Socket[] = [cluster, feed];
  const standing = (): void => {
    const all = both.every((socket) => socket.connected);
    if (connected && !all) lostAt = Date.now();
    connected = all;
    if (all) due = true;
  };
  const knock = (socket: Socket): void => {
    // Who was put out or refused is not brought back by the library.
    later(AGAIN, () => {
      if (!socket.connected) socket.connect();
    });
  };
  for (const socket of both) {
    socket.on('connect', standing);
    socket.on('disconnect', (reason) => {
      standing();
      if (reason === 'io server disconnect') knock(socket);
    });
    socket.on('connect_error', () => {
      standing();
      if (!socket.active) knock(socket);
    });
  }

  cluster.on('snapshot', onSnapshot);
  cluster.on('delta', (delta: Delta) => {
    const before = clusters[delta.cluster];
    if (!before || before.version !== delta.from) {
      cluster.emit('resync', { cluster: delta.cluster });
      return;
    }
    put({
      name: before.name,
      version: delta.to,
      seeing: delta.seeing,
      seenAt: delta.seenAt,
      nodes: changed(before.nodes, delta.nodes),
      guests: changed(before.guests, delta.guests),
      storages: changed(before.storages, delta.storages),
      quorum: delta.quorum ?? before.quorum,
    });
  });
  cluster.on('seen', (seen: Seen) => {
    const before = clusters[seen.cluster];
    if (!before || before.version !== seen.version) {
      cluster.emit('resync', { cluster: seen.cluster });
      return;
    }
    put({ ...before, seeing: seen.seeing, seenAt: seen.seenAt });
  });
  feed.on('event', (event: SocketEvent) => {
    take(fromSocket(event));
    soon();
  });
  feed.on('gap', () => {
    void past();
    soon();
  });
  feed.on('connect', () => {
    soon();
    if (!follows) void past();
    refreshInForce().catch(() => {});
  });

  let renews = false;
  const soon = (): void => {
    if (renews) return;
    renews = true;
    later(150, () => {
      renews = false;
      void refreshOpen();
    });
  };
  /** For how long nothing was asked; what opens meanwhile is not left for the rest of a quiet time. */
  let quiet = QUIET_EVERY;
  const again = (): void => {
    quiet += OPEN_EVERY;
    if (open?.length !== 0 || quiet >= QUIET_EVERY) {
      quiet = 0;
      void refreshOpen();
    }
    later(OPEN_EVERY, again);
  };
  const look = (): void => {
    refreshInForce().then(
      () => later(QUIET_EVERY, look),
      () => later(AGAIN, look),
    );
  };

  /** Reads something until it is read, and says meanwhile that it is not; twice at once is once more afterwards. */
  const reads = (what: string, read: () => Promise<void>): (() => Promise<void>) => {
    let [busy, more] = [false, false];
    const go = async (): Promise<void> => {
      if (busy) {
        more = true;
        return;
      }
      [busy, more] = [true, false];
      try {
        await read();
        const { [what]: _, ...rest } = unread;
        if (!over) unread = rest;
        if (more) later(0, () => void go());
      } catch (error) {
        if (error instanceof Refused && error.status === 401) return;
        if (!over) unread = { ...unread, [what]: wordsOf(error) };
        later(AGAIN, () => void go());
      } finally {
        busy = false;
      }
    };
    return go;
  };
  const past = reads('What happened before', readEvents);
  const names = reads('The list of clusters', async () => {
    const { items } = await get<Schemas['ClusterList']>('/api/v1/clusters');
    const named = items.map((item) => item.cluster);
    order = [...named, ...order.filter((name) => !named.includes(name))];
  });

  later(OPENS_WITHIN, () => (due = true));
  // What stops Jarvis comes first, and none of these waits for another: each may fail where the others do not.
  look();
  cluster.connect();
  feed.connect();
  again();
  void names();
  void past();

  return () => {
    over = true;
    line = undefined;
    timers.forEach((timer) => clearTimeout(timer));
    both.forEach((socket) => socket.disconnect());
    connected = false;
  };
}
