// Story: an incident's events and journal as one timeline, each step in plain words, with its facts where there are some.
import type { Entry, Event, Incident, Next, Schemas } from './api';
import { plain } from './format';
import { isHandled, type Mark } from './words';

export type Fact = [name: string, value: string];
export type Step = { key: string; at: string; title: string; words: string; mark: Mark; facts: Fact[]; tasks: string[]; now: boolean };

const TITLES: Record<string, [string, Mark]> = {
  opened: ['Seen', 'trouble'],
  turned: ['Turned', 'attention'],
  resolved: ['Over', 'well'],
  held: ['Not done then', 'off'],
  advised: ['Proposed', 'attention'],
  intended: ['Being done', 'handled'],
  acted: ['Done', 'handled'],
  verified: ['It helped', 'well'],
  escalated: ['Left to people', 'trouble'],
  lapsed: ['An approval lapsed', 'attention'],
  ordered: ['An operator said', 'handled'],
};

/** `opened VM_CRASHED qemu/101 (web01): what is said`: what is said. */
export function saidOf(words: string): string {
  const at = words.indexOf(': ');
  return at < 0 ? words : words.slice(at + 2);
}

const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** The facts of an entry that a person may look for: the runbook, the attempt, PVE's task. */
function factsOf(entry: unknown): Fact[] {
  const facts: Fact[] = [];
  const walk = (value: unknown, depth: number): void => {
    if (depth > 6) return;
    if (Array.isArray(value)) {
      for (const one of value) walk(one, depth + 1);
      return;
    }
    if (!isObject(value)) return;
    for (const [name, inner] of Object.entries(value)) {
      if (name === 'upid' && typeof inner === 'string') facts.push(['Task', inner]);
      else if (name === 'runbook' && typeof inner === 'string') facts.push(['Runbook', inner]);
      else if (name === 'level' && typeof inner === 'number') facts.push(['Level then', String(inner)]);
      else if (name === 'said' && typeof inner === 'string') facts.push(['PVE said', inner]);
      else walk(inner, depth + 1);
    }
  };
  walk(entry, 0);
  const seen = new Set<string>();
  return facts.filter(([name, value]) => !seen.has(`${name} ${value}`) && seen.add(`${name} ${value}`));
}

function ofEntry(entry: Entry): Step {
  const missed = entry.kind === 'verified' && entry.words?.startsWith('missed');
  const [title, mark]: [string, Mark] = missed ? ['It has not helped', 'trouble'] : (TITLES[entry.kind] ?? [entry.kind, 'off']);
  const facts = factsOf(entry.entry);
  return { key: `j${entry.seq}`, at: entry.at, title, words: plain(saidOf(entry.words ?? '')), mark, facts: facts.filter(([name]) => name !== 'Task'), tasks: facts.filter(([name]) => name === 'Task').map(([, upid]) => upid), now: false };
}

function ofEvent(event: Event): Step {
  const mark: Mark = event.resolved && event.title.startsWith('Resolved') ? 'well' : event.severity === 'info' ? 'handled' : event.severity === 'warning' ? 'attention' : 'trouble';
  return { key: `e${event.seq}`, at: event.at, title: event.title, words: plain(event.message), mark, facts: [], tasks: [], now: false };
}

/** Who may read the journal is shown it, which says more; everybody else what was told. `held`: what comes next, where something objects now. */
export function storyOf({ events, journal }: Schemas['IncidentStory'], held?: Next | undefined): Step[] {
  if (!journal || journal.length === 0) return events.map(ofEvent);
  const steps = journal.map(ofEntry);
  // What objected is told each time that it changes, so only the last of them can still stand.
  const last = journal.findLastIndex(({ kind }) => kind === 'held');
  const shown = new Set<string>();
  for (const step of steps) step.tasks = step.tasks.filter((upid) => !shown.has(upid) && shown.add(upid));
  if (!held) return steps;
  // Its own words are those of then: what objects may have changed since, or say another time.
  const words = plain(held.holds.map((hold) => hold.words).join('; '));
  return steps.map((step, at) => (at === last ? { ...step, title: 'Not done yet', words, mark: isHandled(held) ? 'handled' : 'attention', now: true } : step));
}

/** Details as a list, as far as they are plain. */
export function detailsOf(incident: Incident): Fact[] {
  const details: unknown = incident.details;
  if (!isObject(details)) return [];
  return Object.entries(details).flatMap(([name, value]): Fact[] => {
    if (typeof value !== 'string' && typeof value !== 'number' && typeof value !== 'boolean') return [];
    const words = name.replace(/([A-Z])/g, ' $1').toLowerCase();
    return [[words.charAt(0).toUpperCase() + words.slice(1), typeof value === 'number' ? String(Math.round(value * 10) / 10) : String(value)]];
  });
}
