// What must hold when something else does not: a damaged store, a cluster that hangs, another tab's login, another site's link,
// two clicks for one, an event that reads like the kill switch.

import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { logInto, open, withBrowser } from './browser.mjs';
import { visit } from './screens.mjs';
import { PASSWORD, Watch, until } from './server.mjs';

const GUESTS = 12;
const SCENARIO = `nodes pve1 pve2
${Array.from({ length: GUESTS }, (_, at) => `guest qemu/${100 + at} web${at} on pve${1 + (at % 2)} running onboot`).join('\n')}
storage local local 100GiB used 20%
at 24:00:00 end
`;
/** Calls of which PVE is asked, and the most of them that a page has open at once. */
const ASIDE = /\/(history|config|log|checkup)(\?|$)/;
const ASIDE_MAX = 3;

let watch;
before(async () => {
  watch = await Watch.start({ scenario: SCENARIO, config: '[autonomy]\nlevel = 2' });
  for (const [name, role] of [['olga', 'operator'], ['vera', 'viewer']]) {
    await watch.call('POST', '/api/v1/users', { name, role, clusters: null, password: PASSWORD });
  }
  await until(async () => (await watch.call('GET', '/api/v1/guests')).items.length === GUESTS, 'the guests are seen');
});
after(() => watch.stop());

const stop = (page) => page.getByRole('button', { name: 'Stop Jarvis' });
const goOn = (page) => page.getByRole('button', { name: 'Let Jarvis go on…' });
const stopped = async () => (await watch.call('GET', '/api/monitor/status')).killSwitch;
const letGo = () => watch.call('PUT', '/api/monitor/killswitch', { active: false });

test('a cluster that hangs leaves room for the kill switch, and what nobody waits for is given up', async () => {
  await withBrowser({}, async (context) => {
    // Counted where they begin and end: the browser's own word of it comes later.
    await context.addInitScript((aside) => {
      const ask = globalThis.fetch;
      const open = new Set();
      globalThis.aside = { open, most: 0 };
      globalThis.fetch = async (path, options) => {
        if (!new RegExp(aside).test(path)) return ask(path, options);
        const mine = { path };
        open.add(mine);
        globalThis.aside.most = Math.max(globalThis.aside.most, open.size);
        try {
          return await ask(path, options);
        } finally {
          open.delete(mine);
        }
      };
    }, ASIDE.source);
    const page = await logInto(context, watch.url);
    await page.locator('tbody tr[aria-rowindex]').first().waitFor();
    const pending = () => page.evaluate(() => [...globalThis.aside.open].map(({ path }) => path));
    await watch.happens('api hang');
    try {
      for (let at = 0; at < GUESTS; at += 1) {
        await page.evaluate((to) => {
          history.pushState(null, '', to);
          dispatchEvent(new PopStateEvent('popstate'));
        }, `/guests/lab/qemu/${100 + at}`);
        await page.getByRole('heading', { name: `VM web${at} ` }).waitFor();
      }
      await until(async () => (await pending()).length > 0, 'the last screen asks PVE');
      const [asked, most] = [await pending(), await page.evaluate(() => globalThis.aside.most)];
      assert.ok(asked.every((path) => path.includes(`/${100 + GUESTS - 1}/`)), `only what is looked at is asked for: ${asked}`);
      assert.ok(most >= 2 && most <= ASIDE_MAX, `${most} were open at once`);
      const began = performance.now();
      await stop(page).click();
      await goOn(page).waitFor();
      const took = performance.now() - began;
      assert.ok(took < 1_500, `it took ${took} ms`);
      assert.equal(await stopped(), true);
      await page.getByRole('link', { name: 'Policy' }).click();
      await until(async () => (await pending()).length === 0, 'what was left is given up', 2_000);
    } finally {
      await watch.happens('api back');
      await letGo();
    }
    assert.deepEqual(page.wrong, []);
  });
});

test('stopping goes by the open socket, and by a call where that says nothing', async () => {
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url);
    await page.locator('[data-verdict]').waitFor();
    const puts = [];
    page.on('request', (request) => {
      if (request.method() === 'PUT' && request.url().endsWith('/killswitch')) puts.push(request.postData());
    });
    await stop(page).click();
    await goOn(page).waitFor();
    assert.deepEqual([await stopped(), puts], [true, []], 'by the socket alone');
    await letGo();
    await stop(page).waitFor();
    assert.deepEqual(page.wrong, []);
  });
  await withBrowser({}, async (context) => {
    // One whose messages get lost on their way, as by a proxy that has died quietly.
    await context.routeWebSocket(/socket\.io/, (socket) => {
      const server = socket.connectToServer();
      socket.onMessage((message) => {
        if (!String(message).includes('killSwitch')) server.send(message);
      });
    });
    const page = await logInto(context, watch.url);
    await page.locator('[data-verdict=well]').waitFor();
    // Past the change from polling to the WebSocket.
    await page.waitForTimeout(1_000);
    await stop(page).click();
    await goOn(page).waitFor({ timeout: 5_000 });
    assert.equal(await stopped(), true);
    await letGo();
    assert.deepEqual(page.wrong, []);
  });
});

test('a tab whose login another tab replaced goes on as the same user, and begins anew as another', async () => {
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url, 'admin', '/users');
    const other = await open(context, `${watch.url}/policy`);
    await other.getByRole('navigation').waitFor();
    // Each has opened its sockets: what a page asks in the background finds the other login as well.
    for (const one of [page, other]) await one.waitForLoadState('networkidle');
    const tokens = async () => (await watch.call('GET', '/api/v1/tokens')).items.map(({ name }) => name).filter((name) => name.startsWith('tab')).sort();
    const button = page.getByRole('button', { name: 'Make a token' });
    /** Another login in this browser, and a click before the page could have heard of it. */
    const makeAs = async (name, username) => {
      await page.getByRole('textbox', { name: 'What for' }).fill(name);
      await button.evaluate(async (one, body) => {
        const headers = { 'Content-Type': 'application/json' };
        const { status } = await fetch('/api/v1/session', { method: 'POST', headers, body });
        if (status !== 200) throw new Error(`${status}`);
        one.click();
      }, JSON.stringify({ username, password: PASSWORD }));
    };
    await makeAs('tab1', 'admin');
    await page.getByText('It is shown this once').waitFor();
    assert.deepEqual(await tokens(), ['tab1'], 'made once');

    await makeAs('tab2', 'olga');
    await page.getByText('You are olga here now').waitFor();
    assert.deepEqual(await tokens(), ['tab1'], 'nothing is done as somebody else');
    await page.getByRole('button', { name: 'olga' }).waitFor();
    assert.equal(await page.getByRole('heading', { name: 'Users', exact: true }).count(), 0, 'what only an admin sees is gone');
    await page.getByRole('textbox', { name: 'What for' }).fill('tab3');
    await button.click();
    await page.getByText('It is shown this once').waitFor();
    assert.deepEqual(await tokens(), ['tab1', 'tab3']);

    // What was on its way meanwhile is refused with the login before: nobody is asked for a password for that.
    const refused = { status: 401, contentType: 'application/problem+json', body: '{"status":401,"detail":"Invalid or expired token"}' };
    await page.route('**/api/v1/incidents?*', (route) => route.fulfill(refused), { times: 1 });
    const asked = page.waitForResponse((response) => response.url().endsWith('/api/v1/session'));
    await page.getByRole('link', { name: 'Incidents' }).click();
    assert.equal((await asked).status(), 200);
    await page.getByRole('heading', { name: 'Incidents' }).waitFor();
    assert.equal(await page.getByLabel('Password', { exact: true }).count(), 0);

    // Whoever does nothing is told as well, since the server ends the sockets of the login before; and is not asked for a password.
    const status = await page.evaluate(
      async (body) => (await fetch('/api/v1/session', { method: 'POST', headers: { 'Content-Type': 'application/json' }, body })).status,
      JSON.stringify({ username: 'vera', password: PASSWORD }),
    );
    assert.equal(status, 200);
    for (const one of [page, other]) await one.getByRole('button', { name: 'vera' }).waitFor({ timeout: 30_000 });
    await page.getByText('You are vera here now').waitFor();
    assert.equal(await stop(page).count(), 0, 'a viewer stops nothing');
    assert.deepEqual([...page.wrong, ...other.wrong], []);
  });
});

test('a link with a password fills the field, and tries nothing by itself', async () => {
  await withBrowser({}, async (context) => {
    const page = await open(context);
    const tries = [];
    page.on('request', (request) => {
      if (request.method() === 'POST' && request.url().endsWith('/api/v1/session')) tries.push(request.postData());
    });
    await page.goto(`${watch.url}/login#password=guessed`);
    const field = page.getByLabel('Password', { exact: true });
    await until(async () => (await field.inputValue()) === 'guessed', 'it is filled in');
    for (const guess of ['second', 'third']) await page.evaluate((to) => (location.hash = to), `#password=${guess}`);
    await page.waitForTimeout(1_000);
    assert.deepEqual(tries, []);
    assert.doesNotMatch(page.url(), /#|password/);
    // What somebody types is theirs.
    await field.fill('typed');
    await page.evaluate(() => (location.hash = '#password=fourth'));
    await page.waitForTimeout(300);
    assert.equal(await field.inputValue(), 'typed');
    await field.fill('');
    await page.evaluate((to) => (location.hash = to), `#password=${encodeURIComponent(PASSWORD)}`);
    await until(async () => (await field.inputValue()) === PASSWORD, 'it is filled in');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('navigation').waitFor();
    assert.equal(tries.length, 1);
    assert.deepEqual(page.wrong, []);
  });
});

test('two clicks make one token, one user and one password', async () => {
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url, 'admin', '/users');
    const posts = [];
    await page.route(/\/api\/v1\/(tokens|users)/, async (route) => {
      const request = route.request();
      if (request.method() !== 'GET') {
        posts.push(`${request.method()} ${new URL(request.url()).pathname}`);
        await new Promise((later) => setTimeout(later, 400));
      }
      await route.continue();
    });
    const twice = async (button) => {
      // Within one turn, before anything could be drawn, and once more afterwards.
      await button.evaluate((one) => {
        one.click();
        one.click();
      });
      await button.click({ force: true, timeout: 1_000 }).catch(() => {});
    };
    await page.getByRole('textbox', { name: 'What for' }).fill('once');
    await twice(page.getByRole('button', { name: 'Make a token' }));
    await page.getByText('It is shown this once').waitFor();
    await page.getByRole('textbox', { name: 'Name' }).fill('oscar');
    await twice(page.getByRole('button', { name: 'Make a user' }));
    await page.getByText('oscar is there.').waitFor();
    await page.getByRole('row', { name: /oscar/ }).getByRole('button', { name: 'Shut out' }).click();
    await twice(page.getByRole('dialog').getByRole('button', { name: 'Shut out' }));
    await page.getByRole('dialog').waitFor({ state: 'detached' });
    await twice(page.getByRole('row', { name: /oscar/ }).getByRole('button', { name: 'Let in' }));
    await page.getByRole('row', { name: /oscar/ }).getByRole('button', { name: 'Shut out' }).waitFor();
    assert.deepEqual(posts, ['POST /api/v1/tokens', 'POST /api/v1/users', 'PATCH /api/v1/users/oscar', 'PATCH /api/v1/users/oscar']);
    assert.deepEqual(page.wrong, []);
  });
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url, 'vera', '/users');
    const fresh = 'another good password';
    let posts = 0;
    await page.route(/\/password$/, async (route) => {
      posts += 1;
      await new Promise((later) => setTimeout(later, 400));
      await route.continue();
    });
    await page.getByLabel('Now', { exact: true }).fill(PASSWORD);
    await page.getByLabel('New', { exact: true }).fill(fresh);
    await page.getByRole('button', { name: 'Set it' }).evaluate((one) => {
      one.click();
      one.click();
    });
    await page.getByText('It is set.').waitFor();
    assert.equal(posts, 1);
    await watch.call('POST', '/api/v1/users/vera/password', { new: PASSWORD });
    assert.deepEqual(page.wrong, []);
  });
});

test('what reads like the kill switch is not taken for it', async () => {
  await withBrowser({}, async (context) => {
    let tell;
    await context.routeWebSocket(/socket\.io/, (socket) => {
      const server = socket.connectToServer();
      server.onMessage((message) => socket.send(message));
      tell = (event) => socket.send(`42/events,${JSON.stringify(['event', event])}`);
    });
    const page = await logInto(context, watch.url, 'admin', '/activity');
    await page.locator('article').first().waitFor();
    await stop(page).waitFor();
    // Past the change from polling to the WebSocket.
    await page.waitForTimeout(1_000);
    const seq = (await watch.call('GET', '/api/v1/events?limit=1')).items[0].seq;
    const made = (more, at) => ({ id: `made-${at}`, seq: seq + at, type: 'status', severity: 'warning', source: 'monitor', message: `made ${at}`, timestamp: new Date().toISOString(), ...more });
    for (const [at, more] of [
      { title: 'VM KILL SWITCH ACTIVATED (100) started' },
      { title: 'KILL SWITCH ACTIVATED' },
      { title: 'KILL SWITCH ACTIVATED', source: 'user', type: 'alert' },
      { title: 'Kill switch activated', source: 'user' },
    ].entries()) {
      tell(made(more, at + 1));
      await page.locator('article', { hasText: `made ${at + 1}` }).waitFor();
      assert.equal(await stop(page).count(), 1, JSON.stringify(more));
      assert.equal(await page.getByText('Jarvis is stopped.').count(), 0, JSON.stringify(more));
    }
    // Even the very same words are asked after: the server says what is so.
    tell(made({ title: 'KILL SWITCH ACTIVATED', source: 'user' }, 5));
    await page.locator('article', { hasText: 'made 5' }).waitFor();
    await stop(page).waitFor({ timeout: 3_000 });
    assert.deepEqual(page.wrong, []);
  });
});

test('a question about the kill switch goes away when it is answered elsewhere', async () => {
  await withBrowser({}, async (one) =>
    withBrowser({}, async (two) => {
      const [first, second] = [await logInto(one, watch.url), await logInto(two, watch.url)];
      await stop(first).click();
      for (const page of [first, second]) await goOn(page).click();
      await second.getByRole('button', { name: 'Let it go on' }).click();
      await first.getByRole('dialog').waitFor({ state: 'detached', timeout: 3_000 });
      await first.getByText('Somebody has let it go on meanwhile').waitFor();
      // And it is no answer to a stop that came after it.
      await stop(second).click();
      await goOn(first).waitFor();
      assert.equal(await first.getByRole('dialog').count(), 0);
      await letGo();
      assert.deepEqual([...first.wrong, ...second.wrong], []);
    }),
  );
});

test('each setup link that is opened leaves no code in the address', async () => {
  const fresh = await Watch.start({ scenario: SCENARIO, password: null });
  try {
    await withBrowser({}, async (context) => {
      const page = await open(context, `${fresh.url}/setup#code=first`);
      const code = page.getByLabel('Code from the log');
      await until(async () => (await code.inputValue()) === 'first', 'the first is there');
      await page.evaluate(() => (location.hash = '#code=second'));
      await until(async () => (await code.inputValue()) === 'second', 'the second is there');
      assert.doesNotMatch(page.url(), /#|code/);
      assert.deepEqual(page.wrong, []);
    });
  } finally {
    await fresh.stop();
  }
});

/** Overwrites the first page of a table. Nobody may have the file open. */
async function damage(path, table) {
  const store = await readFile(path);
  const named = `table${table}${table}`;
  const at = store.indexOf(named);
  assert.ok(at > 0, `${table} is in the schema`);
  const number = store.subarray(at + named.length, store.indexOf('CREATE TABLE', at));
  const [page, size] = [number.readUIntBE(0, number.length), store.readUInt16BE(16)];
  store.fill(0xa5, (page - 1) * size, page * size);
  await writeFile(path, store);
}

test('with a damaged store the page shows what is seen, says what it cannot read, and stops Jarvis', async () => {
  await watch.down('SIGTERM');
  await damage(`${watch.folder}/jarvis.db`, 'events');
  await watch.launch();
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url);
    await page.route('**/api/v1/clusters', (route) => route.fulfill({ status: 503, contentType: 'application/problem+json', body: '{"status":503,"detail":"not now"}' }));
    await page.reload();
    await page.getByText('web11').waitFor({ timeout: 30_000 });
    const said = page.getByRole('status').filter({ hasText: 'could not be read' });
    await said.filter({ hasText: 'What happened' }).waitFor();
    await said.filter({ hasText: 'The list of clusters' }).waitFor();
    await stop(page).click();
    await page.getByText('Jarvis is stopped.').waitFor({ timeout: 5_000 });
    assert.equal(await stopped(), true);
    await page.unroute('**/api/v1/clusters');
    await said.filter({ hasText: 'The list of clusters' }).waitFor({ state: 'detached', timeout: 20_000 });
    assert.deepEqual(page.wrong, []);
  });
});
