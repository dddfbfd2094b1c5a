// The real binary, as the tests of the page need it: the demo, or `jarvis run` beside a simulated cluster to which things
// happen when a test says so.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const binary = process.env.JARVIS_BIN ?? join(process.env.CARGO_TARGET_DIR ?? join(root, 'target'), 'debug', 'jarvis');
const TOKEN = 'jarvis@pve!page';
const SECRET = '11111111-1111-1111-1111-111111111111';
export const PASSWORD = 'a good password';

/** A port that was free a moment ago, so that a restart can take it again. */
async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** A child that has said what is waited for, with the lines up to then. Its output is kept flowing. */
async function started(args, environment, ready) {
  const child = spawn(binary, args, { env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'] });
  const heard = [];
  const lines = [createInterface({ input: child.stdout }), createInterface({ input: child.stderr })];
  const waiting = new Promise((said, failed) => {
    const hear = (line) => {
      heard.push(line);
      if (ready(line)) said();
    };
    lines.forEach((input) => input.on('line', hear));
    child.once('exit', (code) => failed(new Error(`jarvis ${args[0]} ended with ${code}:\n${heard.join('\n')}`)));
  });
  await waiting;
  return { child, heard };
}

async function ended(child, signal = 'SIGTERM') {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill(signal);
  await exit;
}

/** Waits until `check` gives something, and gives that. */
export async function until(check, what, patience = 20_000) {
  const began = performance.now();
  for (;;) {
    const given = await check();
    if (given) return given;
    if (performance.now() - began > patience) throw new Error(`${what} did not happen within ${patience / 1000} s`);
    await new Promise((later) => setTimeout(later, 100));
  }
}

/** `jarvis demo`. */
export class Demo {
  static async start(...extra) {
    const demo = new Demo();
    const port = await freePort();
    demo.url = `http://127.0.0.1:${port}`;
    const { child, heard } = await started(['demo', '--listen', `127.0.0.1:${port}`, ...extra], {}, (line) => line.startsWith('time '));
    demo.child = child;
    demo.link = heard.find((line) => line.startsWith('the page'))?.split(/\s+/).at(-1);
    return demo;
  }

  async stop() {
    await ended(this.child);
  }
}

/** A simulated cluster that listens, where its endpoints are, and where a test says what happens to it. */
async function simulated(folder, name, scenario, sim) {
  const ca = join(folder, `${name}.pem`);
  const args = ['sim', '--listen', '127.0.0.1:0', '--control', '127.0.0.1:0', '--ca-file', ca, '--token', `${TOKEN}=${SECRET}`, ...sim];
  if (scenario) {
    const file = join(folder, `${name}.txt`);
    await writeFile(file, scenario);
    args.push('--scenario', file);
  }
  const { child, heard } = await started(args, {}, (line) => line.startsWith('control '));
  const endpoints = heard.filter((line) => line.includes(' https://')).map((line) => line.split(' ')[1]);
  const control = heard.find((line) => line.startsWith('control ')).split(' ')[1];
  const config =
    `[[cluster]]\nname = "${name}"\nendpoints = [${endpoints.slice(0, 3).map((url) => `"${url}"`)}]\n` +
    `token_id = "${TOKEN}"\ntoken_secret_file = "${join(folder, 'secret')}"\nca_file = "${ca}"\n`;
  return { child, control, config };
}

/** `jarvis run`, watching `jarvis sim`. */
export class Watch {
  /**
   * `sim` are arguments of the simulator, `scenario` a script, `config` what stands before the clusters in the configuration;
   * `more` are scenarios of other clusters by their names. The first is called lab.
   */
  static async start({ scenario, sim = [], config = '', more = {}, files = {}, password = PASSWORD }) {
    const watch = new Watch();
    watch.folder = await mkdtemp(join(tmpdir(), 'jarvis-page-'));
    watch.password = password;
    await writeFile(join(watch.folder, 'secret'), SECRET, { mode: 0o600 });
    for (const [name, text] of Object.entries(files)) await writeFile(join(watch.folder, name), text, { mode: 0o600 });
    watch.clusters = { lab: await simulated(watch.folder, 'lab', scenario, sim) };
    for (const [name, script] of Object.entries(more)) watch.clusters[name] = await simulated(watch.folder, name, script, []);
    const port = await freePort();
    watch.url = `http://127.0.0.1:${port}`;
    await writeFile(
      join(watch.folder, 'jarvis.toml'),
      `[server]\nlisten = "127.0.0.1:${port}"\n[store]\npath = "${join(watch.folder, 'jarvis.db')}"\n` +
        `[tiers]\ncritical = "2s"\nlive = "1s"\n${config.replaceAll('FOLDER', watch.folder)}\n` +
        Object.values(watch.clusters).map((cluster) => cluster.config).join('\n'),
    );
    await watch.launch();
    return watch;
  }

  async launch() {
    const environment = this.password === null ? {} : { JARVIS_PASSWORD: this.password };
    const answers = this.password === null ? 'no password is set' : 'emitter started';
    const { child, heard } = await started(['run', '--config', join(this.folder, 'jarvis.toml')], environment, (line) => line.includes(answers));
    this.child = child;
    this.heard = heard;
  }

  /** Something happens to a cluster. */
  async happens(script, cluster = 'lab') {
    const response = await fetch(`${this.clusters[cluster].control}/script`, { method: 'POST', body: script });
    if (!response.ok) throw new Error(`${script}: ${await response.text()}`);
  }

  async down(signal) {
    await ended(this.child, signal);
  }

  async token(username = 'admin', password = this.password) {
    const response = await fetch(`${this.url}/api/auth/login`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ username, password }),
    });
    return (await response.json()).token;
  }

  async call(method, path, body, token) {
    const response = await fetch(this.url + path, {
      method,
      headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token ?? (await this.token())}` },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
    return text ? JSON.parse(text) : undefined;
  }

  async stop() {
    await ended(this.child, 'SIGKILL');
    for (const { child } of Object.values(this.clusters)) await ended(child, 'SIGKILL');
    await rm(this.folder, { recursive: true, force: true });
  }
}
