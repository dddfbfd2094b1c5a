// The binary itself, seen by the stock client: `jarvis run` on the recorded answers of a real cluster, and the demo.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { io } from 'socket.io-client';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const jarvis = join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'debug', 'jarvis');
const recorded = join(root, 'crates/pve/tests/answers/cluster3');
const folder = mkdtempSync(join(tmpdir(), 'jarvis-binary-'));
const running = [];

after(async () => {
  for (const child of running) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill('SIGTERM');
    await once(child, 'exit');
  }
  rmSync(folder, { recursive: true });
});

/** Starts the binary; returns what `pattern` found in its output. */
function start(args, pattern) {
  const child = spawn(jarvis, args, { cwd: folder, env: { ...process.env, JARVIS_PASSWORD: 'binary' } });
  running.push(child);
  let said = '';
  return new Promise((resolve, reject) => {
    const read = (chunk) => {
      said += chunk;
      const found = said.match(pattern);
      if (found) resolve(found[1]);
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    child.once('exit', (code) => reject(new Error(`jarvis ${args[0]} ended with ${code}:\n${said}`)));
  });
}

async function login(url, password) {
  const headers = { 'content-type': 'application/json' };
  const reply = await fetch(`${url}/api/auth/login`, { method: 'POST', headers, body: JSON.stringify({ password }) });
  assert.equal(reply.status, 200);
  return (await reply.json()).token;
}

/** The first of each named message. */
async function firstOf(socket, ...names) {
  const got = await Promise.all(names.map((name) => once(socket, name).then(([value]) => value)));
  return Object.fromEntries(names.map((name, index) => [name, got[index]]));
}

const answer = (name) => JSON.parse(readFileSync(join(recorded, name), 'utf8')).response.json.data;
const by = (key) => (a, b) => (key(a) < key(b) ? -1 : 1);

describe('jarvis run on the recorded answers of a real cluster', () => {
  test('shows its nodes, guests, storages and quorum as they were', async () => {
    const ca = join(folder, 'ca.pem');
    const endpoint = await start(['sim', '--listen', '127.0.0.1:0', '--recorded', recorded, '--ca-file', ca], /(https:\S+)/);
    writeFileSync(join(folder, 'secret'), 'recorded', { mode: 0o600 });
    writeFileSync(
      join(folder, 'jarvis.toml'),
      `[server]\nlisten = "127.0.0.1:0"\n[store]\npath = "recorded.db"\n[[cluster]]\nname = "lab"\n` +
        `endpoints = ["${endpoint}"]\ntoken_id = "mon@pve!t1"\ntoken_secret_file = "secret"\nca_file = "${ca}"\n`,
    );
    const address = await start(['run', '--config', 'jarvis.toml'], /listening.*address=(\S+)/);
    const url = `http://${address}`;
    const page = io(`${url}/cluster`, { auth: { token: await login(url, 'binary') } });
    const { nodes, vms, storage, quorum } = await firstOf(page, 'nodes', 'vms', 'storage', 'quorum');
    page.close();

    const rows = answer('cluster-resources.json');
    const of = (...types) => rows.filter((row) => types.includes(row.type));
    const members = answer('cluster-status.json');
    const number = (value) => value ?? 0;
    assert.deepEqual(
      nodes,
      of('node').sort(by((row) => row.node)).map((row) => ({
        id: row.id, node: row.node, name: row.node, host: members.find((member) => member.name === row.node).ip,
        status: row.status, cpu: number(row.cpu), maxcpu: number(row.maxcpu), mem: number(row.mem), maxmem: number(row.maxmem),
        disk: number(row.disk), maxdisk: number(row.maxdisk), uptime: number(row.uptime), temperatures: {},
      })),
    );
    assert.equal(nodes.length, 3);
    assert.deepEqual(
      vms,
      of('qemu', 'lxc').sort(by((row) => row.vmid)).map((row) => ({
        vmid: row.vmid, name: row.name ?? row.id, type: row.type, status: row.status, node: row.node,
        cpu: number(row.cpu), maxcpu: number(row.maxcpu), mem: number(row.mem), maxmem: number(row.maxmem),
        disk: number(row.disk), maxdisk: number(row.maxdisk), netin: number(row.netin), netout: number(row.netout),
        uptime: number(row.uptime),
      })),
    );
    assert.ok(vms.length > 5);
    assert.deepEqual(
      storage.map(({ storage, node, status, total, used }) => ({ storage, node, status, total, used })),
      of('storage').sort(by((row) => `${row.storage} ${row.node}`)).map((row) => ({
        storage: row.storage, node: row.node, status: row.status === 'available' ? 'active' : 'inactive',
        total: number(row.maxdisk), used: number(row.disk),
      })),
    );
    assert.ok(storage.length > 3);
    assert.deepEqual(quorum, { quorate: true, nodes: 3, expected: 3 });

    const events = await fetch(`${url}/api/memory/events`, { headers: { authorization: `Bearer ${await login(url, 'binary')}` } });
    const told = (await events.json()).events.filter((event) => event.type === 'alert');
    assert.deepEqual(told, [], 'a first look at a cluster only records');
  });
});

describe('jarvis demo', () => {
  test('shows a crash, a node loss and return, a threshold raised and cleared', async () => {
    const url = await start(['demo', '--listen', '127.0.0.1:0', '--speed', '25'], /API and sockets\s+(http:\S+)/);
    const token = await login(url, 'demo');
    for (const transports of [['polling', 'websocket'], ['websocket']]) {
      const page = io(`${url}/cluster`, { auth: { token }, transports, forceNew: true });
      const { nodes, vms } = await firstOf(page, 'nodes', 'vms');
      assert.deepEqual([nodes.length, vms.length], [4, 16], transports.join());
      page.close();
    }
    const events = io(`${url}/events`, { auth: { token, since: 0 } });
    const wanted = [
      ['VM web01 (101) crashed', 'error'],
      ['Resolved: VM_CRASHED on pve1', 'info'],
      ['VM build01 (106) stopped', 'info'],
      ['Disk usage error on pve2', 'error'],
      ['Disk usage critical on pve2', 'critical'],
      ['Resolved: DISK_CRITICAL on pve2', 'info'],
      ['Node pve3 offline', 'critical'],
      ['Resolved: NODE_UNREACHABLE on pve3', 'info'],
    ];
    const told = [];
    const seen = new Promise((resolve) => {
      events.on('event', (event) => {
        told.push(event);
        const next = wanted[told.filter(({ title }) => wanted.some(([name]) => name === title)).length];
        if (!next) resolve();
      });
    });
    const late = new Promise((_, reject) => {
      setTimeout(() => reject(new Error(`told so far: ${told.map(({ title }) => title).join(', ')}`)), 90_000).unref();
    });
    await Promise.race([seen, late]);
    events.close();
    const story = told.filter(({ title }) => wanted.some(([name]) => name === title));
    assert.deepEqual(story.map(({ title, severity }) => [title, severity]), wanted);
    assert.deepEqual(told.map(({ seq }) => seq), told.map((_, index) => told[0].seq + index), 'no gap and no double');
    assert.match(story[2].message, /by bob@pve \(qmstop\)/, 'an operator stop says who');
  });
});
