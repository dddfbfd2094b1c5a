// The page beside a cluster to which things happen when the test says so: who may what, two browsers, restarts, addresses.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { logInto, open, withBrowser } from './browser.mjs';
import { PASSWORD, Watch, until } from './server.mjs';

const SCENARIO = `nodes pve1 pve2
guest qemu/100 web01 on pve1 running onboot tags=prod,web
guest qemu/101 web02 on pve2 running onboot tags=prod,web
guest qemu/102 db01 on pve1 running tags=prod
guest lxc/200 dns on pve2 running onboot
storage local local 100GiB used 20%
at 24:00:00 end
`;
// Quicker than a cluster of somebody's would be treated, and in the same order.
const CONFIG = `[autonomy]
level = 3
[[runbook]]
id = "vm-crashed-restart"
grace = "1s"
first_look = "1s"
verify_for = "1s"
`;

let watch;
before(async () => {
  watch = await Watch.start({ scenario: SCENARIO, config: CONFIG });
  await watch.call('POST', '/api/v1/users', { name: 'vera', role: 'viewer', clusters: null, password: PASSWORD });
  await watch.call('PUT', '/api/monitor/autonomy-level', { level: 2 });
});
after(() => watch.stop());

const logIn = (context, user, path) => logInto(context, watch.url, user, path);
const stop = (page) => page.getByRole('button', { name: 'Stop Jarvis' });
const goOn = (page) => page.getByRole('button', { name: 'Let Jarvis go on…' });

test('a wrong password is said, and lets nobody in', async () => {
  await withBrowser({}, async (context) => {
    const page = await open(context, watch.url);
    await page.getByLabel('Password', { exact: true }).fill('not it');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('alert').filter({ hasText: 'Invalid password' }).waitFor();
    assert.equal(await page.getByRole('navigation').count(), 0);
    assert.deepEqual(page.wrong, []);
  });
});

test('the kill switch: one click, every browser within a second, and resumed only when confirmed', async () => {
  await withBrowser({}, async (one) =>
    withBrowser({}, async (two) => {
      const [first, second] = [await logIn(one), await logIn(two)];
      await stop(first).click();
      const began = performance.now();
      await goOn(second).waitFor({ timeout: 5_000 });
      assert.ok(performance.now() - began < 1_000, `the second browser followed after ${performance.now() - began} ms`);
      await second.getByText('Jarvis is stopped.').waitFor();
      const verdict = second.locator('[data-verdict=attention]');
      await verdict.getByText('Jarvis is stopped', { exact: true }).waitFor();
      await verdict.getByText(/^Nothing is open\. It watches and tells, and does nothing on its own/).waitFor();
      await second.getByRole('link', { name: 'Policy' }).click();
      assert.equal(await second.getByText(/Jarvis acts/).count(), 0, 'it does not while it is stopped');
      await second.getByText(/^All \d+ objections$/).click();
      const objections = await second.locator('details dl').innerText();
      assert.match(objections, /work is announced on it/);
      assert.doesNotMatch(objections, /`|\]\(/, 'text, and no markup');
      await second.getByText('it does nothing on its own, whatever its level allows').waitFor();
      await second.getByRole('link', { name: 'Overview' }).click();
      await goOn(second).click();
      await second.getByRole('button', { name: 'Leave it stopped' }).click();
      assert.equal((await watch.call('GET', '/api/monitor/status')).killSwitch, true, 'asked, and not done');
      await goOn(second).click();
      await second.getByRole('button', { name: 'Let it go on' }).click();
      await stop(first).waitFor({ timeout: 5_000 });
      assert.equal((await watch.call('GET', '/api/monitor/status')).killSwitch, false);
      assert.deepEqual([...first.wrong, ...second.wrong], []);
    }),
  );
});

test('at level 2 it is proposed; approved from the page it is done, and over', async () => {
  await withBrowser({}, async (context) => {
    const page = await logIn(context);
    await watch.happens('crash qemu/100');
    const row = page.locator('[data-incident]', { hasText: 'web01' });
    await row.getByText('Proposed: start it on pve1').waitFor({ timeout: 30_000 });
    assert.equal(await page.locator('[data-verdict]').getAttribute('data-verdict'), 'trouble', 'a person is waited for');
    await row.getByRole('button', { name: 'Approve' }).click();
    await row.waitFor({ state: 'detached', timeout: 30_000 });
    await page.locator('[data-verdict=well]').waitFor({ timeout: 10_000 });
    const [incident] = (await watch.call('GET', '/api/v1/incidents?limit=1')).items;
    assert.deepEqual([incident.resolution, incident.key], ['mended', 'VM_CRASHED:100']);
    assert.deepEqual(page.wrong, []);
  });
});

test('a viewer sees all of it and is offered nothing', async () => {
  await withBrowser({}, async (context) => {
    await watch.happens('crash qemu/101');
    const page = await logIn(context, 'vera');
    const row = page.locator('[data-incident]', { hasText: 'web02' });
    await row.getByText('Proposed: start it on pve2').waitFor({ timeout: 30_000 });
    assert.equal(await row.getByRole('button').count(), 0);
    assert.equal(await stop(page).count(), 0);
    await row.getByRole('link').first().click();
    await page.getByText('Operators see its journal as well').waitFor();
    assert.equal(await page.getByRole('button', { name: /Approve|Dismiss|Close|seen/ }).count(), 0);
    await page.goto(`${watch.url}/guests/lab/qemu/100`);
    await page.getByRole('heading', { name: 'What decides about it' }).waitFor();
    assert.equal(await page.getByRole('button', { name: /Start|Shut down|Reboot|Pull the plug/ }).count(), 0);
    await page.goto(`${watch.url}/audit`);
    await page.getByText('Operators and admins may read the journal').waitFor();
    // What the page does not offer is refused by the server, too.
    const status = await page.evaluate(async () => {
      const { csrf } = await (await fetch('/api/v1/session')).json();
      const headers = { 'Content-Type': 'application/json', 'X-CSRF-Token': csrf };
      return (await fetch('/api/monitor/killswitch', { method: 'PUT', headers, body: '{"active":true}' })).status;
    });
    assert.equal(status, 403);
    assert.deepEqual(page.wrong, []);
  });
});

test('an address from a mail leads through the login to the incident', async () => {
  const [incident] = (await watch.call('GET', '/api/v1/incidents?state=open&limit=1')).items;
  await withBrowser({}, async (context) => {
    const page = await logIn(context, 'admin', `/incidents/${incident.id}`);
    await page.getByRole('heading', { name: 'VM web02 crashed' }).waitFor();
    // Which of them stops Jarvis stands before the click, and what closing comes to before the second.
    for (const [name, means] of [['I have seen it', /^Stops nothing/], ['Dismiss', /^Stops Jarvis/], ['Close', /^Stops Jarvis: .*until somebody starts it/]]) {
      assert.match(await page.getByRole('button', { name: new RegExp(`^${name}`) }).getAttribute('title'), means, name);
    }
    await page.getByRole('button', { name: 'Close' }).click();
    await page.getByRole('dialog').getByText('While web02 stays stopped, Jarvis does not start it and tells nothing more of it').waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
    await page.getByRole('button', { name: 'Dismiss' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Dismiss' }).click();
    await page.getByText('Held: dismissed by admin').waitFor({ timeout: 10_000 });
    await page.getByRole('link', { name: 'Overview' }).click();
    await page.locator('[data-verdict=handled]').getByText('1 incident: 1 dismissed', { exact: true }).waitFor();
    await page.goto(`${watch.url}/incidents/00000000-0000-0000-0000-000000000000`);
    await page.getByRole('heading', { name: 'There is no such incident' }).waitFor();
    assert.deepEqual(page.wrong, []);
  });
});

test('a guest is shut down by hand only when that is confirmed', async () => {
  await withBrowser({}, async (context) => {
    const page = await logIn(context, 'admin', '/guests/lab/qemu/102');
    await page.getByText('neither onboot nor the tag jarvis-restart says that it is to run').waitFor();
    await page.locator('figure', { hasText: 'Memory' }).locator('canvas').waitFor();
    await page.getByRole('button', { name: 'Pull the plug' }).click();
    await page.getByRole('dialog').getByRole('heading', { name: 'Stop db01 at once (pull the plug)?' }).waitFor();
    await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).click();
    const act = page.getByRole('button', { name: 'Shut down', exact: true });
    await act.click();
    await page.getByRole('button', { name: 'Cancel' }).click();
    await act.click();
    await page.getByRole('dialog').getByRole('button', { name: 'Shut down' }).click();
    await page.locator('p', { hasText: /^stopped/ }).first().waitFor({ timeout: 30_000 });
    const open = (await watch.call('GET', '/api/v1/incidents?state=open')).items;
    assert.equal(open.some((incident) => incident.target === 'db01'), false, 'what an operator stopped is no crash');
    assert.deepEqual(page.wrong, []);
  });
});

test('guests are searched by any of their words, and sorted', async () => {
  await withBrowser({}, async (context) => {
    const page = await logIn(context);
    const names = async () => (await page.locator('tbody tr[aria-rowindex] .name a').allInnerTexts()).join();
    await page.locator('tbody tr[aria-rowindex]').first().waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('prod pve1');
    await until(async () => (await names()) === 'web01,db01', 'only those that fit are shown');
    await page.getByRole('button', { name: 'Name' }).click();
    await until(async () => (await names()) === 'db01,web01', 'sorted by name');
    await page.keyboard.press('Tab');
    await page.getByRole('searchbox').fill('nothing like it');
    await page.getByText('No guest fits').waitFor();
    assert.deepEqual(page.wrong, []);
  });
});

test('keys go to the screens, and none is taken from somebody who types', async () => {
  await withBrowser({}, async (context) => {
    const page = await logIn(context);
    await page.locator('tbody tr[aria-rowindex]').first().waitFor();
    // The second key is waited for a second and a half, which a busy machine may let pass.
    const went = async () => {
      await page.keyboard.press('g');
      await page.keyboard.press('a');
      return page.getByRole('heading', { name: 'Activity' }).isVisible();
    };
    await until(went, 'g and a go there');
    // The focus goes along.
    await page.waitForFunction(() => document.activeElement?.tagName === 'H1');
    await page.getByRole('searchbox').focus();
    await page.keyboard.type('go');
    assert.equal(await page.getByRole('searchbox').inputValue(), 'go');
    assert.equal(new URL(page.url()).pathname, '/activity');
    assert.deepEqual(page.wrong, []);
  });
});

test('while the server is away the page says so; afterwards nothing is missing and nothing twice', async () => {
  await withBrowser({}, async (context) => {
    const page = await logIn(context, 'admin', '/activity');
    await page.locator('article').first().waitFor();
    await watch.down('SIGTERM');
    await page.getByText('Not connected.').waitFor();
    await watch.happens('stop lxc/200 by bob@pve');
    await watch.launch();
    await page.getByText('Not connected.').waitFor({ state: 'detached', timeout: 20_000 });
    const dns = page.locator('article', { hasText: 'dns (200)' });
    await dns.filter({ hasText: 'running to stopped' }).first().waitFor({ timeout: 30_000 });
    await watch.happens('start lxc/200 by bob@pve');
    await dns.filter({ hasText: 'stopped to running' }).first().waitFor({ timeout: 30_000 });
    const shown = await page.locator('article').evaluateAll((all) => all.map((one) => Number(one.dataset.seq)));
    const stored = (await watch.call('GET', '/api/v1/events?limit=1000')).items.map((event) => event.seq);
    assert.deepEqual(shown, stored.slice(stored.indexOf(shown[0])), 'each event once, in order, none left out');
    await page.getByRole('link', { name: 'Overview' }).click();
    await page.locator('[data-verdict]').waitFor();
    assert.deepEqual(page.wrong, []);
  });
});

test('the first start: the link from the log sets the password and logs in', async () => {
  const fresh = await Watch.start({ scenario: SCENARIO, password: null });
  try {
    const line = fresh.heard.find((said) => said.includes('no password is set'));
    const link = line.match(/http:\/\/\S+\/setup#code=\S+/)[0];
    await withBrowser({}, async (context) => {
      const page = await open(context, link);
      await page.getByRole('heading', { name: 'Welcome to Jarvis' }).waitFor();
      assert.equal(page.url().includes('code='), false);
      await page.getByLabel('Password', { exact: true }).fill('another good one');
      await page.getByLabel('Password, again').fill('another good two');
      await page.getByRole('button', { name: 'Set the password' }).click();
      await page.getByText('The two passwords differ').waitFor();
      await page.getByLabel('Password, again').fill('another good one');
      await page.getByRole('button', { name: 'Set the password' }).click();
      await page.getByRole('navigation').waitFor();
      assert.deepEqual(page.wrong, []);
    });
  } finally {
    await fresh.stop();
  }
});
