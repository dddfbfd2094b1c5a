// Notifications of the browser, on request: of trouble that begins while the page is open, and of nothing else.
import { live } from './live.svelte';
import type { Told } from './events';
import { go, links } from './router.svelte';

const KEY = 'jarvis.notify';
const possible = 'Notification' in globalThis;
const stored = (): boolean => {
  try {
    return localStorage.getItem(KEY) === 'on' && possible && Notification.permission === 'granted';
  } catch {
    return false;
  }
};
let on = $state(stored());
let refused = $state(false);

export const notifications = {
  possible,
  get on(): boolean {
    return on;
  },
  get refused(): boolean {
    return refused;
  },
  async set(wanted: boolean): Promise<void> {
    refused = false;
    if (wanted && (await Notification.requestPermission()) !== 'granted') {
      refused = true;
      wanted = false;
    }
    on = wanted;
    try {
      localStorage.setItem(KEY, wanted ? 'on' : 'off');
    } catch {
      // Then it holds until the page is left.
    }
  },
};

function show(event: Told): void {
  if (!on || (event.severity !== 'error' && event.severity !== 'critical') || event.type !== 'alert') return;
  const shown = new Notification(event.title, { body: event.message, tag: event.incidentId ?? event.id });
  shown.onclick = () => {
    focus();
    if (event.incidentId) go(links.incident(event.incidentId, event.cluster ?? undefined));
  };
}

if (possible) live.onEvent(show);
