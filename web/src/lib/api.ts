// Calls to our own API: the login's cookie goes along by itself, the token against forgery is added, and a refusal becomes a
// `Refused` whose message is the server's own words.
import type { components } from './api.types';

export type Schemas = components['schemas'];
export type Incident = Schemas['Incident'];
export type Next = Schemas['Next'];
export type Event = Schemas['Event'];
export type Entry = Schemas['Entry'];
export type Session = Schemas['Session'];

export type Guest = Schemas['Guest'];

/** Longest wait for an answer: the server gives up after 15 s. */
const ANSWER_MAX = 20_000;
/**
 * Calls of which PVE is asked that are open at once. They may hang as long as PVE does, and a browser opens six connections to
 * a host: some are left for what must not wait.
 */
const ASIDE_MAX = 3;

/** Why a call was not answered. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly body: unknown = undefined,
    readonly retryAfter: number | undefined = undefined,
  ) {
    super(message);
  }
}

let csrf: string | null = null;
let onLost: () => void = () => {};
let onFound: (who: Session) => boolean = () => false;

export function useSession(token: string | null): void {
  csrf = token;
}

/** Whom to tell that nobody is logged in any more. */
export function whenLost(told: () => void): void {
  onLost = told;
}

/** Whom to ask whether a login that was found in this browser is of who is shown here. */
export function whenFound(same: (who: Session) => boolean): void {
  onFound = same;
}

async function ask(method: string, path: string, body?: unknown, left?: AbortSignal): Promise<Response> {
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (method !== 'GET' && csrf) headers['X-CSRF-Token'] = csrf;
  try {
    return await fetch(path, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      signal: left ? AbortSignal.any([left, AbortSignal.timeout(ANSWER_MAX)]) : AbortSignal.timeout(ANSWER_MAX),
    });
  } catch {
    throw new Refused(0, 'Jarvis does not answer: is it running, and is the network there?');
  }
}

function words(body: unknown, status: number): string {
  if (body && typeof body === 'object') {
    const { detail, error } = body as { detail?: unknown; error?: unknown };
    if (typeof detail === 'string') return detail;
    if (typeof error === 'string') return error;
  }
  return `The call was refused (${status})`;
}

const SESSION = '/api/v1/session';

/** Whether a refusal says that the token against forgery is not of the login that the browser sent. */
const isOfAnotherLogin = ({ status, message }: Refused): boolean => status === 403 && message.includes('X-CSRF-Token');

/** What a page does whose login another tab has replaced: it goes on as the same user, and as nobody else. */
async function findLogin(): Promise<void> {
  let who: Session;
  try {
    who = await once<Session>('GET', SESSION);
  } catch (error) {
    if (error instanceof Refused && error.status === 401) onLost();
    throw error;
  }
  if (!onFound(who)) throw new Refused(403, `This browser is logged in as ${who.user} now, and nothing was done.`);
}

async function once<T>(method: string, path: string, body?: unknown, left?: AbortSignal): Promise<T> {
  const response = await ask(method, path, body, left);
  let text = '';
  try {
    text = await response.text();
  } catch {
    throw new Refused(0, 'The answer broke off.');
  }
  let answer: unknown;
  try {
    answer = text === '' ? undefined : JSON.parse(text);
  } catch {
    answer = undefined;
  }
  if (response.ok) return answer as T;
  if (response.status === 401 && path !== SESSION) onLost();
  const wait = Number(response.headers.get('Retry-After')) || undefined;
  throw new Refused(response.status, words(answer, response.status), answer, wait);
}

export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  try {
    return await once<T>(method, path, body);
  } catch (error) {
    if (!(error instanceof Refused) || !isOfAnotherLogin(error)) throw error;
    await findLogin();
    return once<T>(method, path, body);
  }
}

let aside = 0;
const waiting: (() => void)[] = [];

/** Asks for what PVE has to be asked for, when it is this one's turn; given up as soon as nobody looks at it any more. */
export async function getAside<T>(path: string, left: AbortSignal): Promise<T> {
  while (aside >= ASIDE_MAX && !left.aborted) {
    await new Promise<void>((turn) => {
      waiting.push(turn);
      left.addEventListener('abort', () => turn(), { once: true });
    });
  }
  left.throwIfAborted();
  aside += 1;
  try {
    return await once<T>('GET', path, undefined, left);
  } finally {
    aside -= 1;
    // All of them: one that has gone meanwhile would take the turn and do nothing with it.
    for (const turn of waiting.splice(0)) turn();
  }
}

export const get = <T>(path: string): Promise<T> => once<T>('GET', path);
export const post = <T>(path: string, body?: unknown): Promise<T> => call<T>('POST', path, body);
export const put = <T>(path: string, body: unknown): Promise<T> => call<T>('PUT', path, body);

/** A path with its parameters; those that are absent or empty are left out. */
export function withQuery(path: string, query: Record<string, string | number | undefined>): string {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined && value !== '') given.set(name, String(value));
  }
  const text = given.toString();
  return text ? `${path}?${text}` : path;
}

/** What to say of an error, whatever it is. */
export const wordsOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
