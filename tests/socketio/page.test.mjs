// The original's page, as contract 4 and 5 describe it: what it sends, what it reads, and on what it dies or logs out.
// From its own origin, from another one that the configuration allows, and from one that it does not.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, describe, test } from 'node:test';
import { Manager } from 'socket.io-client';

import { Server, example, password } from './server.mjs';

const ALLOWED = 'http://desk.example.org:5173';
const STRANGER = 'https://evil.example';
/** On these words in a refusal, the page logs its user out. */
const LOGS_OUT = /token|expired|unauthorized/i;
/** How it takes a stored summary apart. */
const SUMMARY = /^\[.*?\]\s*(.+?):\s*(.+)$/;

/** What a browser says of an answer that it may not show to the page. */
class BlockedByCors extends Error {}

/** The page in a browser: one login, one connection with both namespaces, arrays merged by their ids. */
class Page {
  constructor(url, origin) {
    this.url = url;
    this.origin = origin;
    this.token = undefined;
    this.nodes = new Map();
    this.vms = new Map();
    this.storage = new Map();
    this.events = [];
    this.killSwitch = undefined;
    this.changed = new EventTarget();
  }

  get foreign() {
    return this.origin !== this.url;
  }

  /** As a browser does it: whether another origin's page may call is asked first, and checked in the answer. */
  async fetch(method, path, body) {
    const headers = {};
    if (this.token) headers.Authorization = `Bearer ${this.token}`;
    if (body !== undefined) headers['Content-Type'] = 'application/json';
    if (this.foreign) {
      const asked = Object.keys(headers).map((name) => name.toLowerCase()).sort();
      const before = await fetch(this.url + path, {
        method: 'OPTIONS',
        headers: {
          Origin: this.origin,
          'Access-Control-Request-Method': method,
          'Access-Control-Request-Headers': asked.join(','),
        },
      });
      const listed = (name) => (before.headers.get(name) ?? '').toLowerCase().split(/\s*,\s*/);
      if (!before.ok || before.headers.get('access-control-allow-origin') !== this.origin) {
        throw new BlockedByCors(`${method} ${path} from ${this.origin}: ${before.status}`);
      }
      if (!['GET', 'POST'].includes(method) && !listed('access-control-allow-methods').includes(method.toLowerCase())) {
        throw new BlockedByCors(`${method} is not allowed to ${this.origin}`);
      }
      for (const name of asked) {
        if (!listed('access-control-allow-headers').includes(name)) {
          throw new BlockedByCors(`the header ${name} is not allowed to ${this.origin}`);
        }
      }
      headers.Origin = this.origin;
    }
    const answer = await fetch(this.url + path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    if (this.foreign && answer.headers.get('access-control-allow-origin') !== this.origin) {
      throw new BlockedByCors(`the answer of ${method} ${path} is not for ${this.origin}`);
    }
    if (answer.status === 401) this.logout();
    return [answer.status, await answer.json()];
  }

  async login(given = password) {
    const [status, body] = await this.fetch('POST', '/api/auth/login', { password: given });
    if (status === 200) this.token = body.token;
    return [status, body];
  }

  logout() {
    this.token = undefined;
    this.close();
  }

  /** Long-polling first, then the upgrade: the stock client's own order. */
  connect() {
    const extraHeaders = { Origin: this.origin };
    this.manager = new Manager(this.url, { extraHeaders, reconnectionDelay: 50, reconnectionDelayMax: 200 });
    this.cluster = this.manager.socket('/cluster', { auth: { token: this.token } });
    this.feed = this.manager.socket('/events', { auth: { token: this.token } });
    for (const socket of [this.cluster, this.feed]) {
      socket.on('connect_error', (error) => {
        this.refusal = error.message;
        if (LOGS_OUT.test(error.message)) this.logout();
        this.tell('refused');
      });
    }
    this.cluster.on('nodes', (rows) => this.merge('nodes', rows, (row) => row.id));
    this.cluster.on('vms', (rows) => this.merge('vms', rows, (row) => row.vmid));
    this.cluster.on('storage', (rows) => this.merge('storage', rows, (row) => `${row.node}/${row.storage}`));
    this.cluster.on('quorum', (quorum) => {
      this.quorum = quorum;
      this.tell('quorum');
    });
    this.feed.on('event', (event) => {
      // As in the page: without a title this throws, and takes the page with it.
      const shouted = event.title.toUpperCase();
      if (event.type === 'status' && shouted.includes('KILL SWITCH')) {
        this.killSwitch = shouted.includes('ACTIVATED');
        this.tell('killSwitch');
      }
      this.events.push(event);
      this.tell('event');
    });
  }

  merge(name, rows, idOf) {
    for (const row of rows) {
      const id = idOf(row);
      assert.ok(id !== undefined && id !== null, `${name}: a row without an id`);
      this[name].set(id, { ...this[name].get(id), ...row });
    }
    this.tell(name);
  }

  tell(what) {
    this.changed.dispatchEvent(new Event(what));
  }

  async next(what, within = 20_000) {
    await once(this.changed, what, { signal: AbortSignal.timeout(within) });
  }

  close() {
    this.manager?._close();
  }
}

describe("the original's page", { skip: !example }, () => {
  let server;
  const pages = [];
  const open = (origin) => {
    const page = new Page(server.url, origin ?? server.url);
    pages.push(page);
    return page;
  };
  before(async () => {
    server = await Server.start('--origin', ALLOWED, '--also', 'edge');
  });
  after(async () => {
    for (const page of pages) page.close();
    await server?.remove();
  });

  for (const [name, origin] of [['its own origin', undefined], ['an origin that is allowed', ALLOWED]]) {
    test(`works from ${name}`, async () => {
      const page = open(origin);
      const [status, { token, expiresIn }] = await page.login();
      assert.equal(status, 200);
      assert.ok(token.length > 20 && expiresIn > 0);

      page.connect();
      await Promise.all(['nodes', 'vms', 'storage', 'quorum', 'event'].map((what) => page.next(what)));
      if (page.manager.engine.transport.name !== 'websocket') await once(page.manager.engine, 'upgrade');
      assert.equal(page.manager.engine.transport.name, 'websocket');
      assert.ok(page.cluster.connected && page.feed.connected, 'both namespaces on one connection');
      for (const [id, node] of page.nodes) {
        assert.equal(id, `node/${node.node}`);
        assert.ok(node.name && typeof node.temperatures === 'object');
      }
      const guests = page.vms.size;
      page.cluster.emit('requestRefresh');
      await Promise.all(['nodes', 'vms', 'storage', 'quorum'].map((what) => page.next(what)));
      assert.equal(page.vms.size, guests, 'the same guests, merged by their ids');

      const [, shown] = await page.fetch('GET', '/api/memory/events?limit=20');
      assert.ok(shown.events.length > 0);
      for (const { summary, timestamp, id } of shown.events) {
        const [, title, message] = summary.match(SUMMARY) ?? [];
        assert.ok(title && message, summary);
        assert.ok(!Number.isNaN(Date.parse(timestamp)) && timestamp.endsWith('Z') && Number.isInteger(id));
      }
      const [, monitor] = await page.fetch('GET', '/api/monitor/status');
      assert.deepEqual(Object.keys(monitor), ['running', 'autonomyLevel', 'killSwitch', 'activeRemediations']);
      const [, { actions }] = await page.fetch('GET', '/api/monitor/actions?limit=10');
      assert.ok(Array.isArray(actions));
      const [, { preferences }] = await page.fetch('GET', '/api/memory/preferences');
      assert.ok(Array.isArray(preferences));
      const [, { tools }] = await page.fetch('GET', '/api/tools');
      assert.deepEqual(tools.find((tool) => tool.name === 'stop_vm'), { name: 'stop_vm', tier: 'red' });
      const stop = { tool: 'stop_vm', args: { node: 'pve1', vmid: 100 } };
      const [blocked, why] = await page.fetch('POST', '/api/tools/execute', stop);
      // With one cluster it is blocked until it is confirmed; with two, nobody guesses which one is meant.
      assert.deepEqual([blocked, why.success], [400, false]);
      assert.match(why.error, /^cluster must be named in args: there are example, edge$/);
      stop.args.cluster = 'example';
      const [red, because] = await page.fetch('POST', '/api/tools/execute', stop);
      assert.deepEqual([red, because.success, because.tier, because.blocked], [403, false, 'red', true]);
      // It asks for its costs every 30 s, and lives with it that there are none.
      const [none] = await page.fetch('GET', '/api/cost/today');
      assert.equal(none, 404);
      assert.ok(page.token, 'nothing of this logged it out');
      page.close();
    });
  }

  test('stops everything on every screen within a second, also from another origin', async () => {
    const [one, two] = [open(), open(ALLOWED)];
    for (const page of [one, two]) {
      await page.login();
      page.connect();
      await page.next('event');
    }
    for (const [active, by] of [[true, two], [false, one]]) {
      const heard = [one, two].map((page) => page.next('killSwitch', 1_000));
      const [status, body] = await by.fetch('PUT', '/api/monitor/killswitch', { active });
      assert.deepEqual([status, body], [200, { killSwitch: active }]);
      await Promise.all(heard);
      assert.deepEqual([one.killSwitch, two.killSwitch], [active, active]);
      const [, monitor] = await two.fetch('GET', '/api/monitor/status');
      assert.equal(monitor.killSwitch, active);
    }
    for (const body of [{}, { active: 'yes' }, { active: 1 }, { active: null }]) {
      const [status] = await one.fetch('PUT', '/api/monitor/killswitch', body);
      assert.equal(status, 400, JSON.stringify(body));
    }
    const [, monitor] = await one.fetch('GET', '/api/monitor/status');
    assert.equal(monitor.killSwitch, false, 'and nothing changed');
    const level = (level) => two.fetch('PUT', '/api/monitor/autonomy-level', { level });
    assert.deepEqual(await level(1), [200, { autonomyLevel: 1 }]);
    assert.deepEqual(await level(5), [400, { error: 'Level must be 0-4' }]);
    assert.deepEqual(await level(4), [409, { error: 'Level is limited to 2 by the configuration' }]);
    for (const page of [one, two]) page.close();
  });

  test('gets nothing from an origin that is not allowed', async () => {
    const page = open(STRANGER);
    await assert.rejects(page.login(), BlockedByCors);
    // A token that it came by somehow does not help it.
    const own = open();
    await own.login();
    page.token = own.token;
    await assert.rejects(page.fetch('PUT', '/api/monitor/killswitch', { active: false }), BlockedByCors);
    await assert.rejects(page.fetch('GET', '/api/monitor/status'), BlockedByCors);
    page.connect();
    await page.next('refused');
    assert.doesNotMatch(page.refusal, LOGS_OUT);
    assert.ok(page.token, 'it is refused, not logged out');
    assert.equal(page.nodes.size, 0);
    page.close();
  });

  test('logs out on a token that is none, and on nothing else', async () => {
    const page = open();
    const [status, body] = await page.login('wrong');
    assert.deepEqual([status, body], [401, { error: 'Invalid password' }]);
    assert.equal(page.token, undefined);
    for (const [token, words] of [['nonsense', 'Invalid or expired token']]) {
      page.token = token;
      const [status, body] = await page.fetch('GET', '/api/monitor/status');
      assert.deepEqual([status, body], [401, { error: words }]);
      assert.equal(page.token, undefined, 'logged out by REST');
      page.token = token;
      page.connect();
      await page.next('refused');
      assert.equal(page.refusal, words);
      assert.equal(page.token, undefined, 'logged out by the socket');
    }
    await page.login();
    for (const [method, path, body] of [
      ['GET', '/api/nothing'],
      ['GET', '/api/memory/events?limit=0'],
      ['PUT', '/api/monitor/autonomy-level', { level: 9 }],
      ['PUT', '/api/memory/preferences/autonomy.level', { value: '9' }],
      ['POST', '/api/memory/events', { type: 'x' }],
      ['POST', '/api/tools/execute', { tool: 'x' }],
      ['DELETE', '/api/memory/events'],
    ]) {
      const [status, answer] = await page.fetch(method, path, body);
      assert.ok(status >= 400 && status < 500, `${method} ${path}: ${status}`);
      assert.doesNotMatch(answer.error, LOGS_OUT, `${method} ${path}`);
    }
    assert.ok(page.token);
  });

  test('keeps what it writes: events and preferences', async () => {
    const page = open(ALLOWED);
    await page.login();
    page.connect();
    await page.next('event');
    const body = { type: 'action', summary: '[User] Backup: done by hand', details: { n: 1 } };
    const [status, { event }] = await page.fetch('POST', '/api/memory/events', body);
    assert.equal(status, 201);
    assert.deepEqual([event.source, event.severity, event.details], ['user', 'info', { n: 1 }]);
    while (!page.events.some(({ title }) => title === 'Backup')) await page.next('event');
    const [, { preference }] = await page.fetch('PUT', '/api/memory/preferences/theme', { value: 'dark' });
    assert.equal(preference.value, 'dark');
    page.close();
  });

  test('sees the first of several clusters', async () => {
    const page = open();
    await page.login();
    page.connect();
    const also = ({ title }) => title.startsWith('edge ');
    // The other cluster has its events, too: each second one of the example's.
    while (page.events.length < 6) await page.next('event');
    const [, { events }] = await page.fetch('GET', '/api/memory/events?limit=50');
    assert.ok(events.length > 2);
    assert.deepEqual(events.filter(({ summary }) => also({ title: summary.match(SUMMARY)[1] })), []);
    const [, unresolved] = await page.fetch('GET', '/api/memory/events/unresolved');
    assert.deepEqual(unresolved.events.filter(({ summary }) => summary.includes('edge ')), []);
    page.close();
  });
});
