// Measures `jarvis run` as its own process against `jarvis sim` as its own: TLS, one socket client, every guest's
// numbers changing each 10 s. Counts are the simulator's; CPU and memory are the kernel's.
//
// Bounded: three minutes of quiet watching and CRASHES crashes per size, then everything is stopped by its id.
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import https from 'node:https';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

const here = path.dirname(new URL(import.meta.url).pathname);
const root = path.dirname(here);
const { io } = createRequire(path.join(root, 'tests/socketio/package.json'))('socket.io-client');

const jarvis = process.env.JARVIS_BIN ?? path.join(root, 'target/release/jarvis');
const SIZES = { 20: 4, 1000: 16, 10000: 32 }; // guests: nodes
const QUIET_S = Number(process.env.BENCH_QUIET_S ?? 180);
const CRASHES = Number(process.env.BENCH_CRASHES ?? 10);
const STARTS = 5;
const TICKS_PER_S = 100; // USER_HZ on Linux
const TOKEN = 'bench@pve!t1=11111111-1111-1111-1111-111111111111';

const ticks = (pid) => {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ');
  return Number(fields[11]) + Number(fields[12]);
};
const memory = (pid) => {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const mb = (key) => Math.round(Number(status.match(new RegExp(`${key}:\\s+(\\d+)`))[1]) / 102.4) / 10;
  return { rss: mb('VmRSS'), peak: mb('VmHWM') };
};
const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];
const round = (number, digits = 1) => Number(number.toFixed(digits));

function stop(child) {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve();
    child.once('exit', resolve);
    child.kill('SIGTERM');
  });
}

/** Starts a program and waits for a line of its output. Rejects when it ends first. */
function start(args, pattern, env = {}) {
  const began = performance.now();
  const child = spawn(jarvis, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  return new Promise((resolve, reject) => {
    const read = (chunk) => {
      output += chunk;
      const found = output.match(pattern);
      if (found) clearTimeout(late);
      if (found) resolve({ child, found, ms: performance.now() - began, output: () => output });
    };
    child.stdout.on('data', read);
    child.stderr.on('data', read);
    const late = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`jarvis ${args[0]} did not say ${pattern} in 20 s:\n${output}`));
    }, 20_000);
    child.once('exit', (code) => reject(new Error(`jarvis ${args[0]} ended with ${code}:\n${output}`)));
  });
}

/** The status of a guest in /cluster/resources: what PVE shows. */
function shown(endpoint, ca, vmid) {
  const options = { ca: readFileSync(ca), headers: { authorization: `PVEAPIToken=${TOKEN}` } };
  return new Promise((resolve, reject) => {
    const request = https.get(`${endpoint}/api2/json/cluster/resources?type=vm`, options, (reply) => {
      let body = '';
      reply.on('data', (chunk) => (body += chunk));
      reply.on('end', () => resolve(JSON.parse(body).data.find((guest) => guest.vmid === vmid).status));
    });
    request.on('error', reject);
  });
}

async function measure(guests) {
  const nodes = SIZES[guests];
  const folder = mkdtempSync(path.join(tmpdir(), 'jarvis-bench-'));
  const ca = path.join(folder, 'ca.pem');
  const simulated = await start(
    ['sim', '--listen', '127.0.0.1:0', '--control', '127.0.0.1:0', '--nodes', nodes, '--guests', guests, '--token', TOKEN, '--ca-file', ca].map(String),
    /control (http:\S+)/,
  );
  const control = simulated.found[1];
  const endpoints = [...simulated.output().matchAll(/https:\S+/g)].map(([url]) => url);
  const script = async (line) => {
    const reply = await fetch(`${control}/script`, { method: 'POST', body: line });
    if (!reply.ok) throw new Error(`${line}: ${await reply.text()}`);
  };
  writeFileSync(path.join(folder, 'secret'), TOKEN.split('=')[1], { mode: 0o600 });
  const config = path.join(folder, 'jarvis.toml');
  writeFileSync(
    config,
    `[server]\nlisten = "127.0.0.1:0"\n[store]\npath = "${folder}/jarvis.db"\n[tiers]\n` +
      `[[cluster]]\nname = "bench"\nendpoints = ${JSON.stringify(endpoints.slice(0, 2))}\n` +
      `token_id = "${TOKEN.split('=')[0]}"\ntoken_secret_file = "${folder}/secret"\nca_file = "${ca}"\n`,
  );
  const run = () =>
    start(['--log', 'info', 'run', '--config', config], /listening.*address=(\S+:\d+)/, { JARVIS_PASSWORD: 'bench' });
  const starts = [];
  for (let i = 0; i < STARTS; i++) {
    const { child, ms } = await run();
    starts.push(ms);
    await stop(child);
  }
  const watching = await run();
  const { pid } = watching.child;
  const url = `http://${watching.found[1]}`;
  const login = await fetch(`${url}/api/auth/login`, {
    method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ password: 'bench' }),
  });
  const { token } = await login.json();
  const page = io(`${url}/cluster`, { auth: { token } });
  const events = io(`${url}/events`, { auth: { token } });
  const first = await new Promise((resolve) => page.once('vms', resolve));
  if (first.length < guests) throw new Error(`the page shows ${first.length} of ${guests} guests`);

  await fetch(`${control}/counters/reset`, { method: 'POST' });
  const before = ticks(pid);
  await sleep(QUIET_S * 1000);
  const cpu = (ticks(pid) - before) / TICKS_PER_S;
  const counters = await (await fetch(`${control}/counters`)).json();
  const quiet = memory(pid);

  const delays = [];
  const delaysShown = [];
  for (let i = 0; i < CRASHES; i++) {
    const vm = first.filter((guest) => guest.type === 'qemu' && guest.status === 'running')[i];
    if (!vm) break;
    await sleep(Math.random() * 12_000);
    const told = new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`no word of the crash of qemu/${vm.vmid} in 60 s`)), 60_000);
      const listen = (event) => {
        if (!event.title.includes(`(${vm.vmid}) crashed`)) return;
        events.off('event', listen);
        clearTimeout(late);
        resolve(performance.now());
      };
      events.on('event', listen);
    });
    const crashed = performance.now();
    await script(`crash qemu/${vm.vmid}`);
    let shownAt;
    const watching = (async () => {
      for (let tries = 0; tries < 120 && !shownAt; tries++) {
        if ((await shown(endpoints.at(-1), ca, vm.vmid)) === 'stopped') shownAt = performance.now();
        else await sleep(250);
      }
    })();
    const toldAt = await told;
    await watching;
    delays.push((toldAt - crashed) / 1000);
    delaysShown.push((toldAt - shownAt) / 1000);
  }
  const after = memory(pid);
  page.close();
  events.close();
  await stop(watching.child);
  await stop(simulated.child);
  rmSync(folder, { recursive: true });
  return {
    guests, nodes, startMs: round(median(starts)), rssMb: quiet.rss, peakMb: after.peak, cpuS: round(cpu * (180 / QUIET_S), 2),
    callsPerMin: round(counters.calls_total / (QUIET_S / 60)), mbPerMin: round(counters.bytes_total / 1e6 / (QUIET_S / 60), 2),
    calls: Object.fromEntries(Object.entries(counters.calls).map(([call, { count }]) => [call, count])), connections: counters.connections, crashMedianS: round(median(delays)), crashMaxS: round(Math.max(...delays)), shownMedianS: round(median(delaysShown)), shownMaxS: round(Math.max(...delaysShown)), crashes: delays.length,
  };
}

const sizes = process.argv.slice(2).length ? process.argv.slice(2).map(Number) : Object.keys(SIZES).map(Number);
const results = [];
for (const guests of sizes) {
  if (!SIZES[guests]) throw new Error(`size ${guests}: ${Object.keys(SIZES).join(', ')}`);
  results.push(await measure(guests));
  console.log(JSON.stringify(results.at(-1)));
}
mkdirSync(path.join(here, 'out'), { recursive: true });
writeFileSync(path.join(here, 'out/results.json'), JSON.stringify(results, null, 2));

const original = { 20: [1000, 107, 0.49, 30], 1000: [963, 112, 0.96, 30], 10000: [1391, 168, 4.94, 30] };
console.log('\n| guests / nodes | start to listening | RSS (peak) | CPU per 3 min | API calls per min (MB) | crash -> event median, max | of that after PVE shows it |\n|---|---|---|---|---|---|---|');
for (const r of results) {
  const [ms, mb, cpu, calls] = original[r.guests];
  console.log(
    `| ${r.guests} / ${r.nodes} | ${r.startMs} ms (${round(r.startMs / ms, 3)}) | ${r.rssMb} MB (${r.peakMb}) (${round(r.rssMb / mb, 2)}) | ` +
      `${r.cpuS} s (${round(r.cpuS / cpu, 2)}) | ${r.callsPerMin} (${r.mbPerMin}) (${round(r.callsPerMin / calls, 2)}) | ${r.crashMedianS} s, ${r.crashMaxS} s (${r.crashes}) | ${r.shownMedianS} s, ${r.shownMaxS} s |`,
  );
}
console.log('\nIn parentheses at the end of each cell: the ratio to the original on the same work.');
