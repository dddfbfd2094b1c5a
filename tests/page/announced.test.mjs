// What operators announce: set, changed and ended on the page, shown where it holds, seen by viewers and set by none of them.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { logInto, withBrowser, zoneAt } from './browser.mjs';
import { PASSWORD, Watch, until } from './server.mjs';

const SCENARIO = `nodes pve1 pve2
guest qemu/100 web01 on pve1 running onboot tags=prod,web
guest qemu/101 web02 on pve2 running onboot tags=prod pool=shop
guest lxc/200 dns on pve2 running onboot
storage local local 100GiB used 20%
at 24:00:00 end
`;
// Where it is nine in the morning: what lasts four hours ends on the same day, whenever the tests run.
const ZONE = zoneAt(9);

let watch;
before(async () => {
  watch = await Watch.start({ scenario: SCENARIO, config: '[autonomy]\nlevel = 2' });
  await watch.call('POST', '/api/v1/users', { name: 'vera', role: 'viewer', clusters: null, password: PASSWORD });
  await until(async () => (await watch.call('GET', '/api/v1/guests')).items.length === 3, 'the guests are seen');
});
after(() => watch.stop());

const browser = (use) => withBrowser({ timezoneId: ZONE }, use);
const listed = async (kind, query = '') => (await watch.call('GET', `/api/v1/${kind}${query}`)).items;

test('maintenance of a node is announced from its screen, holds for its guests, and is ended', async () => {
  await browser(async (context) => {
    const page = await logInto(context, watch.url, 'admin', '/nodes/lab/pve1');
    await page.getByRole('button', { name: 'Announce maintenance' }).click();
    const form = page.getByRole('dialog');
    assert.equal(await form.getByLabel('About what').inputValue(), 'node/pve1', 'it is about where one is');
    await form.getByLabel('For', { exact: true }).selectOption('4 hours');
    await form.getByLabel('What for').fill('new <b>memory</b>');
    await form.getByRole('button', { name: 'Announce it' }).click();
    await form.waitFor({ state: 'detached' });
    const told = /Maintenance of node pve1 until .*, by admin \(login\): new <b>memory<\/b>/;
    await page.getByText(told).waitFor();
    const [set] = await listed('maintenance');
    const lasts = (Date.parse(set.until) - Date.parse(set.from)) / 60_000;
    assert.deepEqual([set.subject, set.cluster, lasts], ['node/pve1', 'lab', 240]);

    // Beside it and its guests among others, and beside no others.
    await page.getByRole('link', { name: 'Overview' }).first().click();
    const card = page.locator('.nodes > li', { hasText: 'pve1' });
    await card.getByText(/^maintenance until [\d:]+$/).waitFor();
    const marked = async () => (await page.locator('tbody tr[aria-rowindex]').filter({ hasText: 'maintenance' }).locator('.name a').allInnerTexts()).join();
    await until(async () => (await marked()) === 'web01', 'the guests of the node are marked');
    assert.match(await page.locator('tbody .notice').getAttribute('title'), /^Maintenance of node pve1 until .*, by admin \(login\): new <b>memory<\/b>$/);
    assert.equal(await page.locator('.nodes > li', { hasText: 'pve2' }).getByText('maintenance').count(), 0);

    // Its guest, by whatever the guest is called, and not another node's.
    await page.goto(`${watch.url}/guests/lab/qemu/100`);
    await page.getByText(told).waitFor();
    await page.goto(`${watch.url}/guests/lab/qemu/101`);
    await page.getByRole('heading', { name: 'What decides about it' }).waitFor();
    assert.equal(await page.getByText('Maintenance of').count(), 0);
    await page.goto(watch.url);
    await page.getByText(told).waitFor();

    // A crash within it is held, and calls nobody.
    await watch.happens('crash qemu/100');
    const row = page.locator('[data-incident]', { hasText: 'web01' });
    await row.getByText(/Held: maintenance until \d\d:\d\d/).waitFor({ timeout: 30_000 });
    assert.equal(await page.locator('[data-verdict]').getAttribute('data-verdict'), 'handled', 'nobody is waited for');
    await page.locator('[data-verdict]').getByText(/^1 incident: 1 held by maintenance until \d\d:\d\d/).waitFor();
    await row.getByRole('link').first().click();
    await page.getByText(/Part of announced work until .*, by admin \(login\): new <b>memory<\/b>\. Nothing is done about it/).waitFor();

    // What nothing would be done about anyway is not held: it says so, and the work stands beside it.
    await page.goto(watch.url);
    await watch.happens('disk node/pve1 99%');
    const full = page.locator('[data-incident]', { hasText: 'disk is nearly full' });
    await full.getByText(/For a person: Jarvis has no runbook for it \(maintenance until [\d:]+\)/).waitFor({ timeout: 60_000 });
    assert.match(await full.innerText(), /99 % now\s+critical, for [\dms ]+, since \d\d:\d\d:\d\d/);
    assert.equal(await page.locator('[data-verdict]').getAttribute('data-verdict'), 'trouble');
    await watch.happens('disk node/pve1 20%');
    await full.waitFor({ state: 'detached', timeout: 60_000 });

    await page.goto(`${watch.url}/policy`);
    await page.locator('[data-notice=inForce]').getByRole('button', { name: 'End' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'End it' }).click();
    await page.getByText('Nothing is: no work is announced, and nothing is silenced.').waitFor();
    await page.getByText('Past ones').click();
    await page.locator('[data-notice=ended]', { hasText: 'Ended by admin (login)' }).waitFor();
    await page.goto(watch.url);
    await row.getByText('Proposed: start it on pve1').waitFor({ timeout: 30_000 });
    assert.deepEqual(page.wrong, []);
  });
});

test('each week, by the clocks that the page says; changed, it is one and not two', async () => {
  await browser(async (context) => {
    const page = await logInto(context, watch.url, 'admin', '/policy');
    await page.getByRole('button', { name: 'Announce maintenance' }).click();
    const form = page.getByRole('dialog');
    await form.getByLabel('About what').fill('tag:WEB');
    await form.getByLabel('Each week').check();
    assert.equal(await form.getByLabel('By the clocks of').inputValue(), ZONE, "the browser's own zone is offered, and said");
    await form.getByLabel('Sun').check();
    await form.getByLabel('At', { exact: true }).fill('02:30');
    await form.getByRole('button', { name: 'Announce it' }).click();
    await form.waitFor({ state: 'detached' });
    const row = page.locator('[data-notice]', { hasText: 'guests with the tag WEB' });
    await row.getByText(`each sun at 02:30 (${ZONE}) for 2 h`).waitFor();

    await row.getByRole('button', { name: 'Change' }).click();
    assert.deepEqual([await form.getByLabel('About what').inputValue(), await form.getByLabel('Sun').isChecked()], ['tag:WEB', true]);
    await form.getByLabel('Sat').check();
    await form.getByLabel('By the clocks of').fill('Europe/Berlin');
    await form.getByRole('button', { name: 'Change it' }).click();
    await form.waitFor({ state: 'detached' });
    await row.getByText('each sat, sun at 02:30 (Europe/Berlin) for 2 h').waitFor();
    assert.equal(await row.count(), 1);
    const [one, ...more] = await listed('maintenance');
    assert.deepEqual([one.days, one.zone, more.length], [['sat', 'sun'], 'Europe/Berlin', 0]);
    assert.deepEqual(page.wrong, []);
  });
});

test('from a time until another: local times are those of the zone that is shown', async () => {
  await browser(async (context) => {
    const page = await logInto(context, watch.url, 'admin', '/policy');
    await page.getByRole('button', { name: 'Announce maintenance' }).click();
    const form = page.getByRole('dialog');
    await form.getByLabel('About what').fill('pool:shop');
    await form.getByLabel('From a time until another').check();
    const year = new Date(Date.now() + 20 * 86_400_000).toISOString().slice(0, 10);
    await form.getByLabel('From', { exact: true }).fill(`${year}T22:00`);
    await form.getByLabel('Until', { exact: true }).fill(`${year}T23:30`);
    await form.getByLabel('By the clocks of').fill('Asia/Tokyo');
    await form.getByRole('button', { name: 'Announce it' }).click();
    await form.waitFor({ state: 'detached' });
    const set = (await listed('maintenance')).find(({ subject }) => subject === 'pool:shop');
    assert.deepEqual([set.from, set.until, set.state], [`${year}T13:00:00.000Z`, `${year}T14:30:00.000Z`, 'toCome']);
    await page.locator('[data-notice=toCome]', { hasText: 'guests of the pool shop' }).waitFor();
    assert.deepEqual(page.wrong, []);
  });
});

test('what the server finds wrong stands at the field that it names, and nothing is set', async () => {
  await browser(async (context) => {
    const page = await logInto(context, watch.url, 'admin', '/policy');
    const before = (await listed('maintenance', '?state=all')).length;
    await page.getByRole('button', { name: 'Announce maintenance' }).click();
    const form = page.getByRole('dialog');
    await form.getByLabel('About what').fill('pve1');
    await form.getByLabel('Each week').check();
    await form.getByLabel('By the clocks of').fill('Europe/Atlantis');
    await form.getByRole('button', { name: 'Announce it' }).click();
    await form.getByText('Not set: see what is marked above.').waitFor();
    const described = async (label) => {
      const field = form.getByLabel(label, { exact: true });
      const ids = (await field.getAttribute('aria-describedby')).split(' ');
      return [await field.getAttribute('aria-invalid'), await form.locator(`#${ids[0]}`).innerText()];
    };
    const [[bad, subject], [, zone]] = [await described('About what'), await described('By the clocks of')];
    assert.equal(bad, 'true');
    assert.match(subject, /`pve1` is nothing that can be meant/);
    assert.match(zone, /there is no such time zone/);
    assert.match(await form.locator('#days-wrong').innerText(), /days are mon, tue/);
    assert.equal((await listed('maintenance', '?state=all')).length, before);
    await form.getByRole('button', { name: 'Cancel' }).click();
    assert.deepEqual(page.wrong, []);
  });
});

test('an incident is silenced from where it is; a viewer sees that and is offered nothing', async () => {
  await browser(async (context) => {
    await watch.happens('crash qemu/101');
    const incident = await until(async () => (await watch.call('GET', '/api/v1/incidents?state=open&subject=qemu/101')).items[0], 'the crash', 30_000);
    const page = await logInto(context, watch.url, 'admin', `/incidents/${incident.id}`);
    await page.getByRole('button', { name: 'Silence it' }).click();
    const form = page.getByRole('dialog');
    assert.deepEqual([await form.getByLabel('About what').inputValue(), await form.getByLabel('Only of').inputValue()], ['qemu/101', 'VM_CRASHED']);
    await form.getByLabel('For', { exact: true }).selectOption('30 minutes');
    await form.getByLabel('What for').fill('known');
    await form.getByRole('button', { name: 'Silence it' }).click();
    await form.waitFor({ state: 'detached' });
    await page.getByText(/A silence is on it until .*, by admin \(login\): known/).waitFor();
    await page.getByRole('link', { name: 'Incidents' }).first().click();
    await page.locator('[data-incident]', { hasText: 'web02' }).getByText(/silenced until [\d:]+, by admin \(login\)/).waitFor();
    await page.getByRole('link', { name: 'Guests' }).click();
    await page.locator('tbody tr[aria-rowindex]', { hasText: 'web02' }).getByText('silenced: VM_CRASHED').waitFor();
    const [silence] = await listed('silences');
    assert.deepEqual([silence.subject, silence.condition, silence.cluster], ['qemu/101', 'VM_CRASHED', 'lab']);
    assert.deepEqual(page.wrong, []);
  });
  await browser(async (context) => {
    const page = await logInto(context, watch.url, 'vera', '/policy');
    await page.locator('[data-notice=inForce]', { hasText: 'Silence about VM 101' }).waitFor();
    assert.equal(await page.getByRole('button', { name: /Announce|Silence|Change|^End/ }).count(), 0);
    await page.goto(`${watch.url}/guests/lab/qemu/101`);
    await page.getByText(/Silence about VM 101 only VM_CRASHED until/).waitFor();
    assert.equal(await page.getByRole('button', { name: /Announce|Silence/ }).count(), 0);
    assert.deepEqual(page.wrong, []);
  });
});

test('a change whose second half fails is said, and is not made twice when it is tried again', async () => {
  await watch.call('POST', '/api/v1/maintenance', { subject: 'lxc/200', minutes: 60 });
  await browser(async (context) => {
    const page = await logInto(context, watch.url, 'admin', '/policy');
    const row = page.locator('[data-notice]', { hasText: 'container 200' });
    await row.getByRole('button', { name: 'Change' }).click();
    const form = page.getByRole('dialog');
    await form.getByLabel('What for').fill('a cable');
    const refused = { status: 503, contentType: 'application/problem+json', body: '{"status":503,"detail":"the store takes nothing"}' };
    let refusals = 0;
    await page.route('**/api/v1/maintenance/*', (route) => {
      refusals += 1;
      return route.fulfill(refused);
    });
    await form.getByRole('button', { name: 'Change it' }).click();
    await form.getByText('The new one is set, and the one before it could not be ended: the store takes nothing. Try again.').waitFor();
    await form.getByRole('button', { name: 'Change it' }).click();
    await until(async () => refusals === 2, 'it was tried again');
    const all = async () => (await listed('maintenance', '?state=all')).filter(({ subject }) => subject === 'lxc/200').map(({ state, note }) => [state, note]);
    assert.deepEqual(await all(), [['inForce', 'a cable'], ['inForce', '']], 'the same is not set twice');
    // What is written meanwhile is what is wanted, and nothing of before is left.
    await form.getByLabel('What for').fill('a switch');
    await page.unroute('**/api/v1/maintenance/*');
    await form.getByRole('button', { name: 'Change it' }).click();
    await form.waitFor({ state: 'detached' });
    assert.deepEqual(await all(), [['inForce', 'a switch'], ['ended', 'a cable'], ['ended', '']]);
    assert.deepEqual(page.wrong, []);
  });
});
