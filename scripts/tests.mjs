// Runs cargo's tests, several programs of them at a time: most wait for a simulated cluster's time, and use a part of one
// processor. Each one's output is printed when it ends, what failed once more at the end. Status 1 if any failed.
import { spawn } from 'node:child_process';
import { dirname } from 'node:path';
import { createInterface } from 'node:readline';

/** Programs that run at once. */
const LANES = 2;
/** Goes by the world's clock, compressed: beside others it would come too late. It runs after them. */
const ALONE = ['stories'];
/** What takes longest begins first, and what waits beside what computes. */
const SLOW = ['e2e', 'each_call', 'kill_points', 'swarm', 'model', 'store_kill', 'server', 'canary', 'scenarios'];
/** Most tests of the daemon wait, too: more at once than processors. */
const THREADS = process.env.RUST_TEST_THREADS ?? '6';

const running = new Set();
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    for (const child of running) child.kill(signal);
    process.exit(130);
  });
}

/** The test programs, built. */
async function build() {
  const options = ['test', '--workspace', '--all-targets', '--locked', '--no-run', '--message-format', 'json-render-diagnostics'];
  const cargo = spawn('cargo', options, { stdio: ['ignore', 'pipe', 'inherit'] });
  running.add(cargo);
  const ended = new Promise((resolve) => cargo.on('close', resolve));
  const programs = [];
  for await (const line of createInterface({ input: cargo.stdout })) {
    if (!line.startsWith('{')) continue;
    const said = JSON.parse(line);
    if (said.reason !== 'compiler-artifact' || !said.profile.test || !said.executable) continue;
    programs.push({ name: said.target.name, file: said.executable, folder: dirname(said.manifest_path) });
  }
  const status = await ended;
  running.delete(cargo);
  if (status !== 0) process.exit(1);
  return programs;
}

/** Runs one, and says whether it passed. */
function run({ name, file, folder }) {
  const began = performance.now();
  return new Promise((resolve) => {
    const env = { ...process.env, CARGO_MANIFEST_DIR: folder, RUST_TEST_THREADS: THREADS };
    const child = spawn(file, [], { cwd: folder, env, stdio: ['ignore', 'pipe', 'pipe'] });
    running.add(child);
    const output = [];
    child.stdout.on('data', (bytes) => output.push(bytes));
    child.stderr.on('data', (bytes) => output.push(bytes));
    child.on('error', (error) => output.push(Buffer.from(`${error}\n`)));
    child.on('close', (status) => {
      running.delete(child);
      const seconds = ((performance.now() - began) / 1000).toFixed(0);
      process.stdout.write(`\n== ${folder}: ${name}, ${seconds} s\n${Buffer.concat(output)}`);
      resolve(status === 0);
    });
  });
}

async function lane(queue, failed) {
  for (let next = queue.shift(); next; next = queue.shift()) {
    if (!(await run(next))) failed.push(next.name);
  }
}

const programs = await build();
if (programs.length === 0) throw new Error('cargo built no tests');
const place = ({ name }) => (SLOW.includes(name) ? SLOW.indexOf(name) : SLOW.length);
const alone = programs.filter(({ name }) => ALONE.includes(name));
const together = programs.filter(({ name }) => !ALONE.includes(name)).sort((a, b) => place(a) - place(b));
const missing = [...SLOW, ...ALONE].filter((known) => !programs.some(({ name }) => name === known));
if (missing.length > 0) throw new Error(`${missing.join(', ')}: named in scripts/tests.mjs, and there is no such test`);

const failed = [];
await Promise.all(Array.from({ length: LANES }, () => lane(together, failed)));
await lane(alone, failed);
console.log(failed.length === 0 ? `\nall of ${programs.length} test programs passed` : `\nfailed: ${failed.join(', ')}`);
process.exitCode = failed.length === 0 ? 0 : 1;
