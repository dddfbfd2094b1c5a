// What an event looks like as a socket sends it; the API sends the same under other names.
import type { Event } from './api';

export type SocketEvent = {
  id: string;
  seq: number;
  type: Event['type'];
  severity: Event['severity'];
  source: Event['source'];
  title: string;
  message: string;
  timestamp: string;
  node?: string | null;
  cluster?: string | null;
  condition?: string | null;
  subject?: string | null;
  incidentId?: string | null;
  resolvedAt?: string | null;
};

export type Told = Omit<SocketEvent, 'timestamp' | 'resolvedAt'> & { at: string };

export const fromSocket = ({ timestamp, resolvedAt: _, ...rest }: SocketEvent): Told => ({ ...rest, at: timestamp });
export const fromApi = (event: Event): Told => ({
  id: event.id,
  seq: event.seq,
  type: event.type,
  severity: event.severity,
  source: event.source,
  title: event.title,
  message: event.message,
  at: event.at,
  node: event.node ?? null,
  cluster: event.cluster ?? null,
  condition: event.condition ?? null,
  subject: event.subject ?? null,
  incidentId: event.incidentId ?? null,
});

/** What the daemon's own event of the kill switch says of it; nothing of any other, whatever its words are. */
export function killSwitchOf({ type, source, title }: Told): boolean | undefined {
  if (type !== 'status' || source !== 'user') return undefined;
  if (title === 'KILL SWITCH ACTIVATED') return true;
  return title === 'KILL SWITCH OFF' ? false : undefined;
}
