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

export function useSession(token: string | null): void {
  csrf = token;
}

/** Whom to tell that nobody is logged in any more. */
export function whenLost(told: () => void): void {
  onLost = told;
}

async function ask(method: string, path: string, body?: unknown): Promise<Response> {
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (method !== 'GET' && csrf) headers['X-CSRF-Token'] = csrf;
  try {
    return await fetch(path, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      signal: AbortSignal.timeout(ANSWER_MAX),
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

export async function call<T>(method: string, path: string, body?: unknown): Promise<T> {
  const response = await ask(method, path, body);
  const text = await response.text();
  let answer: unknown;
  try {
    answer = text === '' ? undefined : JSON.parse(text);
  } catch {
    answer = undefined;
  }
  if (response.ok) return answer as T;
  if (response.status === 401 && path !== '/api/v1/session') onLost();
  const wait = Number(response.headers.get('Retry-After')) || undefined;
  throw new Refused(response.status, words(answer, response.status), answer, wait);
}

export const get = <T>(path: string): Promise<T> => call<T>('GET', path);
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
