// Session: who is logged in here, and what they may.
import { Refused, get, post, call, useSession, whenFound, whenLost, type Session } from './api';

type State = { kind: 'asking' } | { kind: 'out'; why?: string } | { kind: 'in'; who: Session; said?: string } | { kind: 'away'; why: string };

let state = $state.raw<State>({ kind: 'asking' });

export const session = {
  get state(): State {
    return state;
  },
  get who(): Session | undefined {
    return state.kind === 'in' ? state.who : undefined;
  },
  /** Whether they may act at all; for which clusters, the server asks again. */
  get operates(): boolean {
    return state.kind === 'in' && state.who.role !== 'viewer';
  },
  get rules(): boolean {
    return state.kind === 'in' && state.who.role === 'admin';
  },
  /** Whether they see all clusters. */
  get seesAll(): boolean {
    return state.kind === 'in' && state.who.clusters == null;
  },
};

/** The password that a link carried, until it is used or somebody is in. */
let given = '';

/**
 * Takes the password of the demo's link out of the address, whoever is logged in: what stands behind the # is sent to nobody, and
 * is to stay neither in the address nor in the history.
 */
export function readLink(): void {
  const password = new URLSearchParams(location.hash.slice(1)).get('password');
  if (password === null) return;
  history.replaceState(null, '', location.pathname + location.search);
  // Who is in stays in, and is not somebody else once they log out.
  if (state.kind !== 'in') given = password;
}

/** The link's password, once. */
export function takeGiven(): string {
  const taken = given;
  given = '';
  return taken;
}

function enter(who: Session): void {
  given = '';
  useSession(who.csrf ?? null);
  state = { kind: 'in', who };
}

export async function resume(): Promise<void> {
  try {
    enter(await get<Session>('/api/v1/session'));
  } catch (error) {
    if (error instanceof Refused && error.status === 401) state = { kind: 'out' };
    else state = { kind: 'away', why: error instanceof Error ? error.message : String(error) };
  }
}

export async function logIn(password: string, username?: string): Promise<void> {
  enter(await post<Session>('/api/v1/session', username ? { username, password } : { password }));
}

export async function setUp(code: string, password: string): Promise<void> {
  await post('/api/auth/setup', { code, password });
  await logIn(password);
}

export async function logOut(): Promise<void> {
  await call('DELETE', '/api/v1/session');
  useSession(null);
  state = { kind: 'out' };
}

/** Takes what was said away, once it is read. */
export function heard(): void {
  if (state.kind === 'in') state = { kind: 'in', who: state.who };
}

/** Goes on as whoever is in; whether that is who was. */
function found(who: Session): boolean {
  const before = state.kind === 'in' ? state : undefined;
  const same = before?.who.user === who.user;
  enter(who);
  // Several calls may find the same at once: what was said of the first of them stays.
  const said = same ? before?.said : `You are ${who.user} here now: another tab has logged in. What was begun as somebody else was not done.`;
  if (said) state = { kind: 'in', who, said };
  return same;
}
whenFound(found);

let looks = false;
/** A call was refused for its login. What was on its way when another tab logged in went with the login before, and there is a new one. */
async function look(): Promise<void> {
  if (looks || state.kind !== 'in') return;
  looks = true;
  try {
    found(await get<Session>('/api/v1/session'));
  } catch {
    if (state.kind === 'in') state = { kind: 'out', why: 'Your login is over. Log in again to go on.' };
    useSession(null);
  } finally {
    looks = false;
  }
}
whenLost(() => void look());
