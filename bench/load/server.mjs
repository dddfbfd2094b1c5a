// Node's own Socket.IO server, sending what the example serve_events sends: an event each EVERY_MS to all at /events.
// It stores nothing, where ours commits each event to SQLite before it is told.
import { createServer } from 'node:http';
import { randomUUID } from 'node:crypto';
import { Server } from 'socket.io';

const every = Number(process.argv[2] ?? 50);
const http = createServer();
const io = new Server(http, { serveClient: false });
const events = io.of('/events');
events.use((socket, next) => next(socket.handshake.auth.token === 'load' ? undefined : new Error('Invalid or expired token')));
http.listen(0, '127.0.0.1', () => console.log(`listening on http://127.0.0.1:${http.address().port}`));

const micros = () => Math.round((performance.timeOrigin + performance.now()) * 1000);
let seq = 0;
setInterval(() => {
  seq += 1;
  events.emit('event', {
    id: randomUUID(), type: 'alert', severity: 'error', title: `VM web${seq} (101) crashed`, message: `event ${seq} at ${micros()}`,
    source: 'monitor', timestamp: new Date().toISOString(), cluster: 'example', seq,
  });
}, every);
process.on('SIGTERM', () => process.exit(0));
