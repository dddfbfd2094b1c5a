// The stock Socket.IO client against the server: contract 5 as a page meets it.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { Manager } from 'socket.io-client';

import { Server, example } from './server.mjs';

const ALLOWED = 'http://desk.example.org:5173';
const TRANSPORTS = {
  'polling, then upgrade': ['polling', 'websocket'],
  'websocket only': ['websocket'],
  'polling only': ['polling'],
};

/** The next message of a name, or an error after a while. */
async function next(socket, event, within = 20_000) {
  const [value] = await once(socket, event, { signal: AbortSignal.timeout(within) });
  return value;
}

/** Several first messages at once: they come right after the connection. */
async function each(socket, events) {
  const values = await Promise.all(events.map((event) => next(socket, event)));
  return Object.fromEntries(events.map((event, index) => [event, values[index]]));
}

/** A promise that fails when `event` comes within a time: for what must not happen. */
async function never(socket, event, within) {
  const signal = AbortSignal.timeout(within);
  const value = await once(socket, event, { signal }).catch(() => undefined);
  assert.equal(value, undefined, `${event} came`);
}

function manager(server, options = {}) {
  return new Manager(server.url, { reconnectionDelay: 50, reconnectionDelayMax: 200, ...options });
}

describe('a server', () => {
  let server;
  let token;
  const managers = [];
  const open = (options) => {
    const made = manager(server, options);
    managers.push(made);
    return made;
  };
  before(async () => {
    server = await Server.start('--origin', ALLOWED, '--guests', '300');
    token = await server.login();
  });
  after(async () => {
    for (const made of managers) made._close();
    await server?.remove();
  });

  for (const [name, transports] of Object.entries(TRANSPORTS)) {
    test(`gives both namespaces over one connection: ${name}`, async () => {
      const one = open({ transports });
      const cluster = one.socket('/cluster', { auth: { token } });
      const events = one.socket('/events', { auth: { token } });
      const arrays = each(cluster, ['nodes', 'vms', 'storage', 'quorum']);
      const event = next(events, 'event');

      const { nodes, vms, storage, quorum } = await arrays;
      for (const row of nodes) {
        assert.equal(row.id, `node/${row.node}`);
        assert.equal(row.name, row.node);
        assert.equal(typeof row.temperatures, 'object');
        assert.ok(['online', 'offline', 'unknown'].includes(row.status), row.status);
        numbers(row, ['cpu', 'maxcpu', 'mem', 'maxmem', 'disk', 'maxdisk', 'uptime']);
      }
      for (const row of vms) {
        assert.ok(['qemu', 'lxc'].includes(row.type), row.type);
        assert.equal(typeof row.name, 'string');
        numbers(row, ['vmid', 'cpu', 'maxcpu', 'mem', 'maxmem', 'disk', 'maxdisk', 'netin', 'netout', 'uptime']);
      }
      for (const row of storage) {
        assert.ok(['active', 'inactive'].includes(row.status), row.status);
        numbers(row, ['total', 'used', 'avail']);
      }
      assert.ok(nodes.length > 0 && vms.length > 0 && storage.length > 0);
      assert.deepEqual(Object.keys(quorum), ['quorate', 'nodes', 'expected']);
      if (example) {
        assert.equal(vms.length, 300, 'more than fits into one payload of the polling transport');
        assert.equal(vms[0].name, 'guest-0-äöü');
      }

      const { id, type, severity, title, message, source, timestamp, seq } = await event;
      assert.match(id, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
      assert.ok(['alert', 'action', 'status', 'metric'].includes(type), type);
      assert.ok(['info', 'warning', 'error', 'critical'].includes(severity), severity);
      assert.ok(['monitor', 'user', 'jarvis', 'system'].includes(source), source);
      assert.ok(title.length > 0);
      assert.equal(typeof message, 'string');
      assert.match(timestamp, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
      assert.ok(Number.isInteger(seq));

      const expected = transports.at(-1);
      if (one.engine.transport.name !== expected) await once(one.engine, 'upgrade');
      assert.equal(one.engine.transport.name, expected);
      assert.ok(one.engine.id === cluster.io.engine.id && cluster.io === events.io, 'one connection');
    });
  }

  const bad = {
    'no auth at all': [undefined, 'Authentication required'],
    'no token': [{}, 'Authentication required'],
    'null': [{ token: null }, 'Authentication required'],
    'an empty token': [{ token: '' }, 'Authentication required'],
    'garbage': [{ token: 'garbage' }, 'Invalid or expired token'],
    'a number': [{ token: 42 }, 'Invalid or expired token'],
    'an object': [{ token: { admin: true } }, 'Invalid or expired token'],
    'a changed token': [() => ({ token: `${token.slice(0, -4)}AAAA` }), 'Invalid or expired token'],
    'an unsigned token': [() => ({ token: unsigned() }), 'Invalid or expired token'],
    'a bad since': [() => ({ token, since: 'yesterday' }), 'since must be a whole number, the seq of the last event received'],
  };
  const unsigned = () => {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    return `${part({ alg: 'none', typ: 'JWT' })}.${part({ sub: 'admin', iat: 0, exp: 99999999999, jti: 'x' })}.`;
  };
  for (const [name, [auth, message]] of Object.entries(bad)) {
    test(`refuses ${name}, with the contract's words`, async () => {
      for (const transports of [['polling'], ['websocket']]) {
        for (const namespace of ['/cluster', '/events']) {
          const given = typeof auth === 'function' ? auth() : auth;
          const socket = open({ transports }).socket(namespace, { auth: given });
          const error = await next(socket, 'connect_error');
          assert.equal(error.message, message, `${namespace} over ${transports}`);
        }
      }
    });
  }

  test('lets a client in that was refused and comes again with a token', async () => {
    const one = open();
    const refused = one.socket('/events', { auth: { token: 'old' } });
    const cluster = one.socket('/cluster', { auth: { token } });
    const [error] = await Promise.all([next(refused, 'connect_error'), next(cluster, 'connect')]);
    assert.equal(error.message, 'Invalid or expired token');
    refused.auth = { token };
    refused.connect();
    await next(refused, 'event');
  });

  test('repeats the snapshot on requestRefresh, but not without end', async () => {
    const cluster = open().socket('/cluster', { auth: { token } });
    await next(cluster, 'storage');
    for (const _ of Array(3)) {
      const again = each(cluster, ['nodes', 'vms', 'storage', 'quorum']);
      cluster.emit('requestRefresh');
      await again;
    }
    // Storage is published every second in the example; at most that many come, not one per request.
    let storages = 0;
    cluster.on('storage', () => (storages += 1));
    for (const _ of Array(50)) cluster.emit('requestRefresh');
    await never(cluster, 'disconnect', 1500);
    assert.ok(storages <= 6, `${storages} snapshots for 50 requests at once`);
  });

  test('gives a client that comes back what it missed: every event once and in order', { skip: !example }, async () => {
    const first = open().socket('/events', { auth: { token } });
    const seen = await next(first, 'event');
    const witnessed = [];
    first.on('event', (event) => witnessed.push(event));
    while (witnessed.length < 8) await next(first, 'event');

    const second = open().socket('/events', { auth: { token, since: seen.seq } });
    const received = [];
    second.on('event', (event) => received.push(event));
    while (received.length < 16) await next(second, 'event');
    const expected = received.map((_, index) => seen.seq + 1 + index);
    assert.deepEqual(received.map((event) => event.seq), expected);
    assert.deepEqual(received.slice(0, 8), witnessed.slice(0, 8), 'the same events as those sent live');

    const third = open().socket('/events', { auth: { token } });
    const fresh = await next(third, 'event');
    assert.ok(fresh.seq > seen.seq + 8, 'nothing is replayed that was not asked for');
  });

  test('says so when a client asks for what this database does not have', async () => {
    const socket = open().socket('/events', { auth: { token, since: 2 ** 40 } });
    const [gap, event] = await Promise.all([next(socket, 'gap'), next(socket, 'event')]);
    assert.equal(gap.after, 2 ** 40);
    assert.equal(event.seq, gap.until + 1);
  });

  test('refuses the sockets of other pages, and lets allowed ones in', async () => {
    const from = (origin, transports) => open({ transports, reconnection: false, extraHeaders: { Origin: origin } });
    for (const transports of [['polling'], ['websocket']]) {
      const other = from('https://evil.example', transports).socket('/cluster', { auth: { token } });
      const error = await next(other, 'connect_error');
      assert.match(error.message, /^(xhr poll error|websocket error)$/);
      await next(from(server.url, transports).socket('/cluster', { auth: { token } }), 'connect');
      if (example) await next(from(ALLOWED, transports).socket('/cluster', { auth: { token } }), 'connect');
    }
  });

  test('lets an allowed page read the polling answers, and no other', { skip: !example }, async () => {
    const poll = (origin) =>
      fetch(`${server.url}/socket.io/?EIO=4&transport=polling`, { headers: { Origin: origin } });
    const allowed = await poll(ALLOWED);
    assert.equal(allowed.status, 200);
    assert.equal(allowed.headers.get('access-control-allow-origin'), ALLOWED);
    const other = await poll('https://evil.example');
    assert.equal(other.status, 403);
    assert.equal(other.headers.get('access-control-allow-origin'), null);
    assert.doesNotMatch(await other.text(), /token|expired|unauthorized/i);
  });

  test('does not know other namespaces', async () => {
    const socket = open().socket('/', { auth: { token } });
    const error = await next(socket, 'connect_error');
    assert.equal(error.message, 'Invalid namespace');
  });

  test('closes a connection that asks for nothing, after 5 s', async () => {
    const address = `${server.url}/socket.io/?EIO=4&transport=polling`;
    const hello = await (await fetch(address)).text();
    const { sid } = JSON.parse(hello.slice(1));
    const began = performance.now();
    const poll = async () => (await fetch(`${address}&sid=${sid}`)).text();
    let packet = await poll();
    if (packet === '2') packet = await poll(); // a ping
    assert.equal(packet, '1', 'the close packet');
    const took = performance.now() - began;
    assert.ok(took > 4_000 && took < 7_000, `${took} ms`);
    assert.equal((await fetch(`${address}&sid=${sid}`)).status, 400);
  });
});

describe('a server that is started again', () => {
  for (const [name, transports] of Object.entries(TRANSPORTS)) {
    for (const signal of ['SIGTERM', 'SIGKILL']) {
      test(`gets its clients back by themselves: ${signal}, ${name}`, async () => {
        const server = await Server.start();
        const one = manager(server, { transports });
        try {
          const token = await server.login();
          let asked = 0;
          let last = 0;
          const auth = (give) => {
            asked += 1;
            give({ token, since: last });
          };
          const cluster = one.socket('/cluster', { auth: { token } });
          const events = one.socket('/events', { auth });
          const seqs = [];
          events.on('event', ({ seq }) => {
            seqs.push(seq);
            last = seq;
          });
          await Promise.all([each(cluster, ['nodes', 'vms', 'storage', 'quorum']), next(events, 'event')]);

          const gone = Promise.all([next(cluster, 'disconnect'), next(events, 'disconnect')]);
          const stopping = server.kill(signal);
          for (const reason of await gone) assert.match(reason, /^transport (close|error)$/);
          const took = await stopping;
          assert.ok(took < 1000, `${signal} took ${took} ms`);

          const back = each(cluster, ['connect', 'nodes', 'vms', 'storage', 'quorum']);
          await server.launch();
          await back;
          if (example) {
            const before = last;
            while (last < before + 3) await next(events, 'event');
            assert.ok(asked >= 2, 'asks for its token again');
            assert.deepEqual(seqs, seqs.map((_, index) => seqs[0] + index), 'no event is lost or doubled');
          }
        } finally {
          one._close();
          await server.remove();
        }
      });
    }
  }
});

/** That each field is a number which a page can calculate with. */
function numbers(row, fields) {
  for (const field of fields) assert.ok(Number.isFinite(row[field]), `${field}: ${row[field]}`);
}
