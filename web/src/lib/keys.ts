// Keys: `/` searches, `g` and a letter goes somewhere, `?` says which there are. None while somebody types.
import { go } from './router.svelte';

export const GOES: [string, string, string][] = [
  ['o', '/', 'Overview'],
  ['i', '/incidents', 'Incidents'],
  ['a', '/activity', 'Activity'],
  ['g', '/guests', 'Guests'],
  ['p', '/policy', 'Policy'],
  ['j', '/audit', 'Audit (the journal)'],
  ['h', '/jarvis', 'Health of Jarvis'],
  ['u', '/users', 'Users and tokens'],
];
/** How long `g` waits for its letter. */
const SECOND_KEY = 1_500;

export function listenToKeys(help: () => void): () => void {
  let pressed = 0;
  const down = (event: KeyboardEvent): void => {
    const at = event.target as HTMLElement | null;
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (at?.closest('input, textarea, select, dialog, [contenteditable]')) return;
    if (event.key === '?') help();
    else if (event.key === '/') {
      const search = document.querySelector<HTMLInputElement>('main input[type=search]');
      if (!search) return;
      event.preventDefault();
      search.focus();
      search.select();
    } else if (performance.now() - pressed < SECOND_KEY) {
      pressed = 0;
      const goes = GOES.find(([key]) => key === event.key);
      if (!goes) return;
      event.preventDefault();
      go(goes[1]);
    } else if (event.key === 'g') pressed = performance.now();
  };
  addEventListener('keydown', down);
  return () => removeEventListener('keydown', down);
}
