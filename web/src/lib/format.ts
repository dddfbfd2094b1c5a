// Format: numbers and times in the words of the page.
export function percent(part: number, whole = 1): string {
  return whole > 0 ? `${Math.round((part / whole) * 100)} %` : '–';
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
export function bytes(count: number): string {
  let [value, unit] = [count, 0];
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${value >= 100 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`;
}

/** `3 d 4 h`, `12 m 5 s`, `8 s`: the two largest. */
export function span(milliseconds: number): string {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  const [d, h, m, s] = [Math.floor(seconds / 86_400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60, seconds % 60];
  if (d > 0) return h > 0 ? `${d} d ${h} h` : `${d} d`;
  if (h > 0) return m > 0 ? `${h} h ${m} m` : `${h} h`;
  if (m > 0) return s > 0 && m < 10 ? `${m} m ${s} s` : `${m} m`;
  return `${s} s`;
}

/** How long something took that is over; whole seconds, as the engine counts them, so that the same is said wherever it stands. */
export const lasted = (from: string, until: string): string => span(Math.floor((Date.parse(until) - Date.parse(from)) / 1000) * 1000);

const TIME: Intl.DateTimeFormatOptions = { hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23' };
const timeOnly = new Intl.DateTimeFormat(undefined, TIME);
const dayAndTime = new Intl.DateTimeFormat(undefined, { ...TIME, day: 'numeric', month: 'short' });
const whole = new Intl.DateTimeFormat(undefined, { ...TIME, year: 'numeric', month: 'short', day: 'numeric', timeZoneName: 'short' });

/** The time of day; with its day where that is not today. */
export function when(time: string | number, now: number): string {
  const date = new Date(time);
  const today = date.toDateString() === new Date(now).toDateString();
  return (today ? timeOnly : dayAndTime).format(date);
}

export const whenWhole = (time: string | number): string => whole.format(new Date(time));
export const dayOf = (time: string): string =>
  new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long' }).format(new Date(time));

const tickHour = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' });
const tickDay = new Intl.DateTimeFormat(undefined, { weekday: 'short', day: 'numeric' });
/** A time on an axis that is so many seconds long. */
export const tickTime = (second: number, length: number): string => (length > 2 * 86_400 ? tickDay : tickHour).format(new Date(second * 1000));

export const count = (number: number, one: string, many: string): string => `${number.toLocaleString()} ${number === 1 ? one : many}`;

const LASTS = '(\\d+:)?(\\d+):(\\d\\d)';
const BEFORE = new RegExp(`\\b(for|after|within) ${LASTS}\\b(?!:)`, 'g');
const AFTER = new RegExp(`(?<![\\d:])${LASTS}(?= (?:more|after the call)\\b)`, 'g');
/** The engine's own sentences, in which something lasts `1:16`, with that as the page has it: `1 m 16 s`. Times of day stay. */
export function plain(text: string): string {
  const lasts = (hours: string | undefined, minutes: string, seconds: string): string =>
    span(((Number.parseInt(hours ?? '0', 10) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1000);
  return text
    .replace(BEFORE, (_, word: string, ...parts: string[]) => `${word} ${lasts(parts[0], parts[1] ?? '0', parts[2] ?? '0')}`)
    .replace(AFTER, (_, ...parts: string[]) => lasts(parts[0], parts[1] ?? '0', parts[2] ?? '0'));
}
