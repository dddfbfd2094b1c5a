// The demo, as somebody who tries Jarvis meets it: the link logs in, a crash is seen, handled and over, while one looks.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { open, withBrowser } from './browser.mjs';
import { visit } from './screens.mjs';
import { Demo, until } from './server.mjs';

let demo;
before(async () => {
  demo = await Demo.start();
});
after(() => demo.stop());

test('the link logs in; a crash is told, mended and over, live', async () => {
  await withBrowser({}, async (context) => {
    const page = await open(context, demo.link);
    await page.waitForURL(`${demo.url}/`);
    assert.equal(page.url().includes('#'), false, 'the password does not stay in the address');
    const verdict = () => page.locator('[data-verdict]').first().getAttribute('data-verdict');
    const row = page.locator('[data-incident]', { hasText: 'web01' });
    await row.waitFor({ timeout: 30_000 });
    assert.equal(await verdict(), 'handled', 'what Jarvis is at needs nobody');
    await until(async () => /Seeing whether it helped, attempt 1 of 3/.test(await row.innerText().catch(() => '')), 'it was started', 30_000);

    // A second tab by the incident's own address, as from a mail.
    const link = await row.getByRole('link').first().getAttribute('href');
    const story = await open(context, demo.url + link);
    await story.getByRole('heading', { name: 'VM web01 crashed' }).waitFor();
    await story.locator('[data-next=over]').waitFor({ timeout: 40_000 });
    const told = await story.locator('ol').innerText();
    for (const step of ['Seen', 'segmentation fault', 'Not done then', 'Being done', 'attempt 1 of 3', 'It helped', 'Over']) {
      assert.ok(told.includes(step), `${step} in: ${told}`);
    }
    await row.waitFor({ state: 'detached', timeout: 10_000 });
    await until(async () => ['well', 'handled'].includes(await verdict()), 'all is well again');

    await page.getByRole('link', { name: 'Activity' }).click();
    const article = page.locator('article', { hasText: 'Resolved: VM web01 crashed on pve1' }).first();
    await article.waitFor();
    // What lasts is said in one form, wherever the words come from.
    assert.match(await article.innerText(), /running again, mended by Jarvis after 1 m \d+ s/);
    await page.locator('article', { hasText: 'Remediation starting: vm-crashed-restart, for VM web01' }).first().waitFor();
    assert.match(told, /it may heal by itself for \d+ s/);
    const [[, above], [, below]] = [await story.locator('[data-next=over]').innerText(), told].map((words) => words.match(/mended by Jarvis after ([\dms ]*\d [ms])/));
    assert.equal(above, below, 'the same, wherever it stands');
    assert.doesNotMatch(told, /(for|after|within) \d+:\d\d/);
    assert.deepEqual([...page.wrong, ...story.wrong], []);
  });
});

test('the link opened while somebody is in leaves no password, and logs nobody in once they are out', async () => {
  await withBrowser({}, async (context) => {
    const first = await open(context, demo.link);
    await first.getByRole('navigation').waitFor();
    const page = await open(context, demo.link);
    await page.getByRole('navigation').waitFor();
    assert.doesNotMatch(page.url(), /#|password/);
    // In a page that is open the browser goes to it without loading anything.
    await page.goto(`${demo.url}/login`);
    await page.getByRole('navigation').waitFor();
    await page.evaluate((link) => {
      location.href = link;
    }, demo.link);
    await until(() => !/#|password/.test(page.url()), 'it is taken out of the address');
    await page.getByRole('button', { name: 'admin' }).click();
    await page.getByRole('button', { name: 'Log out' }).click();
    await page.getByLabel('Password', { exact: true }).waitFor();
    await page.waitForTimeout(500);
    assert.equal(await page.getByRole('navigation').count(), 0, 'nobody is logged in');
    assert.equal(await page.getByLabel('Password', { exact: true }).inputValue(), '');
    assert.deepEqual([...first.wrong, ...page.wrong], []);
  });
});

test('what somebody does carries the same clock as what happens, in the order in which it was', async () => {
  await withBrowser({}, async (context) => {
    const page = await open(context, demo.link);
    await page.getByRole('navigation').waitFor();
    const ask = (path) => page.evaluate(async (from) => (await fetch(from)).json(), path);
    // Six times as fast as the world, so that two clocks would be minutes apart by now.
    const { now: before, pace } = await ask('/api/v1/clock');
    assert.equal(Math.round(pace), 6);
    assert.ok(Date.parse(before) - Date.now() > 120_000, 'the demo has gone on');
    await page.getByRole('button', { name: 'Stop Jarvis' }).click();
    await page.getByRole('button', { name: 'Let Jarvis go on…' }).click();
    await page.getByRole('button', { name: 'Let it go on' }).click();
    await page.getByRole('button', { name: 'Stop Jarvis' }).waitFor();
    await visit(page, '/guests/demo/qemu/105');
    await page.getByRole('button', { name: 'Reboot' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Reboot' }).click();
    const done = async () => (await ask('/api/v1/events?source=user&limit=20')).items.filter(({ seq, title }) => seq > 0 && /KILL SWITCH|restarted by|Restart of/.test(title));
    const told = await until(async () => (await done()).length >= 3 && done(), 'all three are told', 30_000);
    const { now: after } = await ask('/api/v1/clock');
    for (const { title, at } of told) assert.ok(at >= before && at <= after, `${title}: ${at} between ${before} and ${after}`);
    const rows = (await ask('/api/v1/journal?kind=operator&limit=20')).items.filter(({ entry }) => /killSwitch|tool/.test(entry.did));
    assert.ok(rows.length >= 4, JSON.stringify(rows.map(({ entry }) => entry.did)));
    for (const { entry, at } of rows) assert.ok(at >= before && at <= after, `${entry.did}: ${at} between ${before} and ${after}`);
    assert.deepEqual(page.wrong, []);
  });
});

test('a guest that PVE does not start again with its node is said to be that, and is started', async () => {
  // At 13:10 of the demo's day.
  const quick = await Demo.start('--speed', '20');
  try {
    await withBrowser({}, async (context) => {
      const page = await open(context, quick.link);
      const row = page.locator('[data-incident]', { hasText: 'wiki' });
      await row.getByRole('link', { name: 'Container wiki was not started again' }).click({ timeout: 60_000 });
      await page.getByRole('heading', { name: 'Container wiki was not started again' }).waitFor();
      await page.locator('[data-next=over]').waitFor({ timeout: 20_000 });
      const told = await page.locator('ol').innerText();
      for (const step of ["with its node's restart; PVE could not start it again", 'attempt 1 of 3', 'It helped', 'Over']) {
        assert.ok(told.includes(step), `${step} in: ${told}`);
      }
      assert.deepEqual(page.wrong, []);
    });
  } finally {
    await quick.stop();
  }
});
