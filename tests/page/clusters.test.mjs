// Two clusters beside each other, in which the same names and numbers mean different things; the filters; notifications.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { logInto, withBrowser } from './browser.mjs';
import { PASSWORD, Watch, until } from './server.mjs';

const LAB = `nodes pve1 pve2
guest qemu/100 web01 on pve1 running onboot tags=prod
guest qemu/101 web02 on pve2 running onboot tags=prod
guest qemu/102 spare on pve2 stopped
storage local local 100GiB used 20%
at 24:00:00 end
`;
const EDGE = `nodes pve1 far1
guest qemu/100 cam01 on pve1 running onboot tags=prod
guest lxc/200 relay on far1 running onboot
storage local local 100GiB used 20%
at 24:00:00 end
`;

// Quicker than a cluster of somebody's would be treated.
const CONFIG = `[autonomy]
level = 2
[[runbook]]
id = "vm-crashed-restart"
grace = "1s"
first_look = "1s"
verify_for = "1s"
`;

let watch;
before(async () => {
  watch = await Watch.start({ scenario: LAB, more: { edge: EDGE }, config: CONFIG });
  await watch.call('POST', '/api/v1/users', { name: 'ed', role: 'operator', clusters: ['edge'], password: PASSWORD });
  await until(async () => (await watch.call('GET', '/api/v1/guests')).items.length === 5, 'both are seen');
});
after(() => watch.stop());

const names = async (page) => (await page.locator('tbody tr[aria-rowindex] .name a').allInnerTexts()).join();
const verdicts = (page) => page.locator('[data-verdict]').evaluateAll((all) => all.map((one) => `${one.getAttribute('aria-label')}: ${one.dataset.verdict}`));

test('a verdict of each cluster; the switcher shows one, by an address that can be kept', async () => {
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url);
    await until(async () => (await names(page)) === 'web01,cam01,web02,spare,relay', 'the guests of both');
    await watch.happens('crash qemu/100', 'edge');
    const row = page.locator('[data-incident]', { hasText: 'cam01' });
    await row.getByText('Proposed: start it on pve1').waitFor({ timeout: 30_000 });
    assert.match(await row.innerText(), /in edge/);
    assert.deepEqual(await verdicts(page), ['How lab is: well', 'How edge is: trouble']);

    const pick = page.getByRole('combobox', { name: 'Cluster' });
    await pick.selectOption('lab');
    await until(async () => (await names(page)) === 'web01,web02,spare', 'the guests of one');
    assert.deepEqual(await verdicts(page), ['How lab is: well']);
    assert.equal(await page.locator('[data-incident]').count(), 0, "another cluster's trouble is not shown here");
    assert.equal(new URL(page.url()).search, '?cluster=lab');
    assert.equal(await page.getByRole('link', { name: 'Incidents' }).locator('.badge').innerText(), '1', 'and is not forgotten');
    await page.reload();
    await until(async () => (await names(page)) === 'web01,web02,spare', 'as it was, after a reload');
    await pick.selectOption('edge');
    await until(async () => (await names(page)) === 'cam01,relay', 'the other one');
    await page.goBack();
    await until(async () => (await names(page)) === 'web01,web02,spare', 'the way back');
    await pick.selectOption('');
    await row.getByRole('button', { name: 'Approve' }).click();
    await row.waitFor({ state: 'detached', timeout: 30_000 });
    assert.deepEqual(page.wrong, []);
  });
});

test('the same number is another guest in each; acts and announcements name the cluster', async () => {
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url, 'admin', '/guests/edge/qemu/100');
    await page.getByRole('heading', { name: 'VM cam01 100' }).waitFor();
    await page.getByRole('button', { name: 'Announce maintenance' }).click();
    const form = page.getByRole('dialog');
    assert.equal(await form.getByLabel('Cluster').inputValue(), 'edge');
    await form.getByRole('button', { name: 'Announce it' }).click();
    await form.waitFor({ state: 'detached' });
    await page.getByText(/Maintenance of VM 100 until/).waitFor();
    await page.goto(`${watch.url}/guests/lab/qemu/100`);
    await page.getByRole('heading', { name: 'VM web01 100' }).waitFor();
    await page.getByRole('heading', { name: 'What decides about it' }).waitFor();
    assert.equal(await page.getByText('Maintenance of').count(), 0, 'of the other one');
    await page.goto(watch.url);
    await page.getByText(/Maintenance of VM 100 in edge until/).waitFor();
    await page.getByRole('combobox', { name: 'Cluster' }).selectOption('lab');
    await page.getByText(/Maintenance of VM 100/).waitFor({ state: 'detached' });

    // What means something in each may be for every one.
    await page.goto(`${watch.url}/policy`);
    await page.getByRole('button', { name: 'Silence', exact: true }).click();
    await form.getByLabel('About what').fill('tag:prod');
    assert.equal(await form.getByLabel('Cluster').inputValue(), '');
    await form.getByRole('button', { name: 'Silence it' }).click();
    await page.locator('[data-notice=inForce]', { hasText: 'guests with the tag prod in every cluster' }).waitFor();
    // What is another thing in each has to be said of one.
    await page.getByRole('button', { name: 'Silence', exact: true }).click();
    await form.getByLabel('About what').fill('qemu/100');
    await form.getByRole('button', { name: 'Silence it' }).click();
    await form.getByText(/it is another thing in each; there are lab, edge/).waitFor();
    await form.getByRole('button', { name: 'Cancel' }).click();
    for (const kind of ['maintenance', 'silences']) {
      for (const { id } of (await watch.call('GET', `/api/v1/${kind}`)).items) await watch.call('DELETE', `/api/v1/${kind}/${id}`);
    }
    assert.deepEqual(page.wrong, []);
  });
});

test('whoever is let into one cluster sees no other, and sets nothing for all', async () => {
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url, 'ed');
    await until(async () => (await names(page)) === 'cam01,relay', 'their own guests');
    assert.equal(await page.getByRole('combobox', { name: 'Cluster' }).count(), 0, 'there is nothing to switch to');
    const seen = await page.evaluate(() => document.body.innerText);
    assert.doesNotMatch(seen, /\blab\b|web0[12]|pve2/);
    await page.goto(`${watch.url}/guests/lab/qemu/100`);
    await page.getByText('No cluster lab is watched, or you may not see it.').waitFor();
    // Whoever is quicker than the page: the form is open before it knows which cluster is theirs.
    let known;
    const asked = new Promise((resolve) => (known = resolve));
    await page.route(/\/api\/v1\/(clusters|session\/ticket)$/, async (route) => {
      await asked;
      await route.continue();
    });
    await page.goto(`${watch.url}/policy`);
    await page.getByRole('button', { name: 'Announce maintenance' }).click();
    const form = page.getByRole('dialog');
    await form.getByLabel('About what').fill('cluster');
    await form.getByRole('button', { name: 'Announce it' }).click();
    await form.getByText('Which cluster is yours is not known yet').waitFor();
    known();
    await until(async () => (await page.locator('datalist#notice-subjects option').count()) > 1, 'the cluster is known');
    await form.getByRole('button', { name: 'Announce it' }).click();
    await form.waitFor({ state: 'detached' });
    const [set] = (await watch.call('GET', '/api/v1/maintenance')).items;
    assert.deepEqual([set.subject, set.cluster, set.by], ['cluster', 'edge', 'ed (login)'], 'everything that is theirs');
    await watch.call('DELETE', `/api/v1/maintenance/${set.id}`);
    assert.deepEqual(page.wrong, []);
  });
});

test('guests by state, by node and by cluster, together with words', async () => {
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url, 'admin', '/guests');
    await page.locator('tbody tr[aria-rowindex]').first().waitFor();
    const [state, node, search] = [page.getByRole('combobox', { name: 'State' }), page.getByRole('combobox', { name: 'Node' }), page.getByRole('searchbox')];
    for (const [name, by, words, expected] of [
      ['those that are stopped', ['stopped', ''], '', 'spare'],
      ['those of a node, in each cluster', ['', 'pve1'], '', 'web01,cam01'],
      ['both', ['running', 'pve2'], '', 'web02'],
      ['with words', ['running', 'pve1'], 'edge', 'cam01'],
      ['none', ['stopped', 'pve1'], '', ''],
      ['all again', ['', ''], '', 'web01,cam01,web02,spare,relay'],
    ]) {
      await state.selectOption(by[0]);
      await node.selectOption(by[1]);
      await search.fill(words);
      await until(async () => (await names(page)) === expected, name);
    }
    await page.getByRole('status').filter({ hasText: '5 guests' }).waitFor();
    assert.deepEqual(page.wrong, []);
  });
});

test('the activity by severity, source and words; older events when somebody scrolls to them', async () => {
  for (let number = 0; number < 150; number += 1) {
    await watch.call('POST', '/api/memory/events', { type: 'status', severity: number % 10 === 0 ? 'warning' : 'info', summary: `[User] Note ${number}: number ${number} of them` });
  }
  await watch.happens('crash qemu/101');
  await until(async () => (await watch.call('GET', '/api/v1/incidents?state=open&subject=qemu/101')).items[0], 'the crash', 30_000);
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url, 'admin', '/activity');
    await page.locator('article').first().waitFor();
    const [severity, source] = [page.getByRole('combobox', { name: 'Severity' }), page.getByRole('combobox', { name: 'Source' })];
    const shown = () => page.locator('article').evaluateAll((all) => all.map((one) => Number(one.dataset.seq)));
    const stored = async (query) => (await watch.call('GET', `/api/v1/events?limit=1000${query}`)).items.map(({ seq }) => seq);
    for (const [name, by, query] of [
      ['warnings', ['warning', ''], '&severity=warning'],
      ['errors', ['error', ''], '&severity=error'],
      ['what people said', ['', 'user'], '&source=user'],
      ['both', ['warning', 'user'], '&severity=warning&source=user'],
    ]) {
      await severity.selectOption(by[0]);
      await source.selectOption(by[1]);
      const expected = await stored(query);
      assert.ok(expected.length > 0, name);
      await until(async () => {
        await page.mouse.wheel(0, 20_000);
        return (await shown()).join() === expected.join();
      }, `${name}: all that is stored, and no other`);
    }
    await severity.selectOption('');
    await source.selectOption('');
    await page.getByRole('searchbox').fill('crashed web02');
    await until(async () => {
      const texts = await page.locator('article').allInnerTexts();
      return texts.length > 0 && texts.every((text) => /crashed/.test(text) && /web02/.test(text));
    }, 'by words');
    // What comes while one looks at a part of it is shown if it fits, and not if it does not.
    await page.getByRole('searchbox').fill('');
    await severity.selectOption('warning');
    await source.selectOption('user');
    await until(async () => (await shown()).length >= 15, 'the warnings again');
    await watch.call('POST', '/api/memory/events', { type: 'status', severity: 'info', summary: '[User] Late: this is no warning' });
    await watch.call('POST', '/api/memory/events', { type: 'status', severity: 'warning', summary: '[User] Late too: this is one' });
    await page.locator('article').first().filter({ hasText: 'this is one' }).waitFor();
    assert.equal(await page.getByText('this is no warning').count(), 0);
    assert.deepEqual(page.wrong, []);
  });
});

/** In the place of the browser's own, whose windows no test sees: it writes down what is shown, and is asked as that is. */
const bystander = (answer) => {
  globalThis.told = [];
  globalThis.Notification = class {
    static permission = 'default';
    static asked = 0;
    static async requestPermission() {
      this.asked += 1;
      return (this.permission = answer);
    }
    constructor(title, { body, tag }) {
      globalThis.told.push({ title, body, tag, one: this });
    }
  };
};
const told = (page) => page.evaluate(() => globalThis.told.map(({ title, tag }) => [title, tag]));

test('notifications: only when asked for, of trouble alone, and they lead to the incident', async () => {
  await withBrowser({}, async (context) => {
    await context.addInitScript(bystander, 'granted');
    const page = await logInto(context, watch.url);
    const crash = async (guest, cluster) => {
      await watch.happens(`crash ${guest}`, cluster);
      return until(async () => (await watch.call('GET', `/api/v1/incidents?state=open&subject=${guest}&cluster=${cluster}`)).items[0], 'the crash', 30_000);
    };
    await page.locator('[data-verdict]').first().waitFor();
    const first = await crash('lxc/200', 'edge');
    await page.locator(`[data-incident="${first.id}"]`).waitFor({ timeout: 15_000 });
    assert.deepEqual([await told(page), await page.evaluate(() => Notification.asked)], [[], 0], 'nobody asked for any');

    await page.getByRole('button', { name: 'admin' }).click();
    await page.getByLabel('Notify me of trouble while this page is open').check();
    await page.keyboard.press('Escape');
    await watch.call('POST', '/api/memory/events', { type: 'status', severity: 'info', summary: '[User] Quiet: nothing to see' });
    await page.getByRole('link', { name: 'Activity' }).click();
    await page.locator('article', { hasText: 'nothing to see' }).waitFor();
    assert.deepEqual(await told(page), [], 'news is no trouble');
    const second = await crash('qemu/100', 'lab');
    await until(async () => (await told(page)).length > 0, 'it is told');
    assert.deepEqual(await told(page), [['VM web01 (100) crashed', second.id]]);
    await page.evaluate(() => globalThis.told[0].one.onclick());
    await page.getByRole('heading', { name: 'VM web01 crashed' }).waitFor();
    assert.equal(new URL(page.url()).pathname, `/incidents/${second.id}`);
    assert.deepEqual(page.wrong, []);
  });
  await withBrowser({}, async (context) => {
    await context.addInitScript(bystander, 'denied');
    const page = await logInto(context, watch.url);
    await page.getByRole('button', { name: 'admin' }).click();
    const box = page.getByLabel('Notify me of trouble while this page is open');
    await box.click();
    await page.getByText('The browser does not allow it for this page.').waitFor();
    assert.equal(await box.isChecked(), false);
    assert.deepEqual(page.wrong, []);
  });
});
