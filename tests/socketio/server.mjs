// Starts, stops and asks the server under test.
//
// JARVIS_CMD is the command that starts it (`target/debug/jarvis demo`), JARVIS_PASSWORD its password; `--listen
// ADDRESS` is added. Without them it is the example `serve_events`, whose events come every 200 ms and which can do
// a little more.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const target = process.env.CARGO_TARGET_DIR ?? join(root, 'target');
const command = process.env.JARVIS_CMD;

/** Whether the server is the example. */
export const example = command === undefined;
export const password = process.env.JARVIS_PASSWORD ?? 'jarvis-example';

export class Server {
  static async start(...extra) {
    const server = new Server();
    server.extra = extra;
    server.folder = await mkdtemp(join(tmpdir(), 'jarvis-socketio-'));
    server.port = await freePort();
    await server.launch();
    return server;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** Starts it on the same port and folder; returns when it answers. */
  async launch() {
    const listen = ['--listen', `127.0.0.1:${this.port}`];
    const [program, ...args] = example
      ? [join(target, 'debug', 'examples', 'serve_events'), '--folder', this.folder, ...this.extra]
      : command.split(' ');
    this.process = spawn(program, [...args, ...listen], {
      cwd: example ? root : this.folder,
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const lines = createInterface({ input: this.process.stdout });
    const ended = once(this.process, 'exit').then(([code]) => {
      throw new Error(`${program} ended with ${code} before it listened`);
    });
    ended.catch(() => {});
    const listening = (async () => {
      for await (const line of lines) if (line.includes(`:${this.port}`)) return;
    })();
    await Promise.race([listening, ended]);
    lines.on('line', () => {}); // what it prints later must not fill the pipe
    lines.resume();
    this.process.stdout.resume();
  }

  /** Returns when it has ended, and in how many milliseconds. */
  async kill(signal) {
    const began = performance.now();
    const ended = once(this.process, 'exit');
    this.process.kill(signal);
    await ended;
    return performance.now() - began;
  }

  async remove() {
    if (this.process.exitCode === null && this.process.signalCode === null) await this.kill('SIGKILL');
    await rm(this.folder, { recursive: true, force: true });
  }

  /** One REST call: [status, body]. */
  async call(path, { token, ...options } = {}) {
    const headers = { 'Content-Type': 'application/json' };
    if (token) headers.Authorization = `Bearer ${token}`;
    const response = await fetch(this.url + path, { headers, ...options });
    return [response.status, await response.json()];
  }

  async login() {
    const [status, body] = await this.call('/api/auth/login', {
      method: 'POST',
      body: JSON.stringify({ password }),
    });
    if (status !== 200) throw new Error(`login: ${status} ${JSON.stringify(body)}`);
    return body.token;
  }
}

/** A port that was free a moment ago: one that is known before the start, so that a restart can take it again. */
async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}
