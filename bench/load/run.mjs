// Many Socket.IO clients, some of which never read: `run.mjs` measures ours and Node's server in turn and prints the
// table of docs/BENCH.md; `run.mjs --check` is the bounded run of `make test`, which gates on counts alone.
//
// Everything that it starts it ends, by its id.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const here = path.dirname(new URL(import.meta.url).pathname);
const root = path.dirname(path.dirname(here));
const check = process.argv.includes('--check');
const target = process.env.CARGO_TARGET_DIR ?? path.join(root, 'target');
const examples = path.join(target, check ? 'debug' : 'release', 'examples');
const [clients, silent, seconds, runs] = check ? [300, 30, 10, 1] : [1000, 100, Number(process.env.LOAD_SECONDS ?? 30), Number(process.env.LOAD_RUNS ?? 3)];
const RATE = 20;
/** What the server may have held at most, in megabytes: in a debug build too, far below what keeping everything takes. */
const RSS_MAX_MB = 150;
// Each of the two on a core of its own, where there are two and the tool that says so.
const pinned = (core, command) => (process.env.LOAD_PIN === '0' || check ? command : ['taskset', '-c', String(core), ...command]);

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

async function serve(command, pattern) {
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  const found = await new Promise((resolve, reject) => {
    child.stdout.on('data', (chunk) => {
      said += chunk;
      const match = said.match(pattern);
      if (match) resolve(match);
    });
    child.once('exit', (code) => reject(new Error(`${command.join(' ')} ended with ${code}: ${said}`)));
  });
  return { child, address: found[1] };
}

async function stop(child) {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  child.kill('SIGTERM');
  await ended;
}

async function token(address) {
  const reply = await fetch(`http://${address}/api/auth/login`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ password: 'jarvis-example' }),
  });
  if (!reply.ok) throw new Error(`login: ${reply.status}`);
  return (await reply.json()).token;
}

async function load(address, token) {
  const args = { server: address, token, clients, silent, seconds, rate: RATE };
  const command = pinned(1, [path.join(examples, 'socket_load'), ...Object.entries(args).flatMap(([key, value]) => [`--${key}`, String(value)])]);
  const child = spawn(command[0], command.slice(1), { stdio: ['ignore', 'pipe', 'inherit'] });
  let said = '';
  child.stdout.on('data', (chunk) => (said += chunk));
  const [code] = await once(child, 'close');
  if (!said) throw new Error(`socket_load ended with ${code}`);
  return JSON.parse(said);
}

const ticks = (pid) => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return Number(fields[11]) + Number(fields[12]);
};
const peakMb = (pid) => Number(readFileSync(`/proc/${pid}/status`, 'utf8').match(/VmHWM:\s+(\d+)/)[1]) / 1024;

async function measure(kind) {
  const folder = mkdtempSync(path.join(tmpdir(), 'jarvis-load-'));
  const every = String(1000 / RATE);
  const command =
    kind === 'jarvis'
      ? [path.join(examples, 'serve_events'), '--folder', folder, '--every-ms', every]
      : [process.execPath, path.join(here, 'server.mjs'), every];
  const { child, address } = await serve(pinned(0, command), /http:\/\/(\S+)/);
  try {
    const before = ticks(child.pid);
    const result = await load(address, kind === 'jarvis' ? await token(address) : 'load');
    return { ...result, cpuS: (ticks(child.pid) - before) / 100, peakMb: Math.round(peakMb(child.pid)) };
  } finally {
    await stop(child);
    rmSync(folder, { recursive: true });
  }
}

const kinds = check ? ['jarvis'] : ['jarvis', 'node'];
const results = { jarvis: [], node: [] };
for (let run = 0; run < runs; run++) {
  for (const kind of kinds) {
    const result = await measure(kind);
    results[kind].push(result);
    console.log(JSON.stringify({ kind, run, ...result }));
  }
}
for (const [kind, all] of Object.entries(results)) {
  for (const { readers, events, deliveries, lost, doubled, peakMb } of all) {
    const due = readers * events;
    if (lost || doubled || deliveries !== due) throw new Error(`${kind}: ${deliveries} of ${due} delivered, ${lost} lost, ${doubled} doubled`);
    if (kind === 'jarvis' && peakMb > RSS_MAX_MB) throw new Error(`${kind}: ${peakMb} MB at most`);
  }
}
if (!check) {
  const of = (kind, key) => median(results[kind].map((result) => result[key]));
  const cell = (key, unit) => `${of('jarvis', key)} ${unit} | ${of('node', key)} ${unit} | ${(of('jarvis', key) / of('node', key)).toFixed(2)}`;
  console.log(`\n| ${clients} clients, ${silent} of which never read, ${RATE} events/s, ${seconds} s | Jarvis | Node socket.io | ratio |\n|---|---|---|---|`);
  console.log(`| delivered of ${of('jarvis', 'readers') * of('jarvis', 'events')} | ${cell('deliveries', '')} |`);
  console.log(`| p50 | ${cell('p50_ms', 'ms')} |\n| p99 | ${cell('p99_ms', 'ms')} |\n| slowest | ${cell('max_ms', 'ms')} |`);
  console.log(`| CPU | ${cell('cpuS', 's')} |\n| RSS peak | ${cell('peakMb', 'MB')} |`);
}
