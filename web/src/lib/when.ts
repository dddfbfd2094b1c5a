// When: what an operator says of a time, as the API takes it, and how what was announced reads.
import type { Notice } from './notices.svelte';
import { span, when } from './format';
import { untilOf } from './notices.svelte';

export const DAYS: [string, string][] = [
  ['mon', 'Mon'],
  ['tue', 'Tue'],
  ['wed', 'Wed'],
  ['thu', 'Thu'],
  ['fri', 'Fri'],
  ['sat', 'Sat'],
  ['sun', 'Sun'],
];
export const LENGTHS: [number, string][] = [
  [30, '30 minutes'],
  [60, '1 hour'],
  [120, '2 hours'],
  [240, '4 hours'],
  [480, '8 hours'],
  [1440, 'a day'],
  [4320, '3 days'],
  [10080, 'a week'],
];

export const ownZone = (): string => Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';
export const zones = (): string[] => [...new Set([ownZone(), 'UTC', ...Intl.supportedValuesOf('timeZone')])];

/** `2026-12-01T22:00`, by a zone's clocks: what a field of a browser holds. */
export function localIn(zone: string, at: number): string {
  try {
    const parts = new Intl.DateTimeFormat('en-CA', { timeZone: zone, year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' }).formatToParts(at);
    const of = (type: string): string => parts.find((part) => part.type === type)?.value ?? '00';
    return `${of('year')}-${of('month')}-${of('day')}T${of('hour')}:${of('minute')}`;
  } catch {
    return '';
  }
}

/** When it holds, in words. */
export function whenWords(notice: Notice, now: number): string {
  const until = untilOf(notice);
  if (notice.kind === 'silences') return until ? `until ${when(until, now)}` : '';
  const { days, at, minutes, zone, current, next, from } = notice;
  if (days.length === 0) {
    if (current) return `until ${when(current.until, now)}`;
    return from && notice.until ? `${when(from, now)} to ${when(notice.until, now)}` : '';
  }
  const weekly = `each ${days.join(', ')} at ${at} (${zone}) for ${span((minutes ?? 0) * 60_000)}`;
  if (current) return `until ${when(current.until, now)}; ${weekly}`;
  return next ? `${weekly}; next ${when(next.from, now)}` : weekly;
}

const upper = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** What is meant, in words. */
export function aboutWords(subject: string): string {
  if (subject === 'cluster') return 'everything';
  const at = subject.indexOf(':');
  const rest = subject.slice(at + 1);
  if (at > 0) return `${subject.slice(0, at) === 'name' ? 'what is called' : `guests ${subject.startsWith('tag') ? 'with the tag' : 'of the pool'}`} ${rest}`;
  return subject.replace(/^node\//, 'node ').replace(/^qemu\//, 'VM ').replace(/^lxc\//, 'container ').replace(/^storage\//, 'storage ').replace(/^service\//, 'service ');
}
export const titleOf = (notice: Notice): string => upper(notice.kind === 'maintenance' ? `maintenance of ${aboutWords(notice.subject)}` : `silence about ${aboutWords(notice.subject)}`);
