// What stands behind an incident and behind Jarvis itself: what a task wrote, what objects now, who is told, what a token
// lacks, whether the journal is as it was written, and all of it as a file.

import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { logInto, withBrowser } from './browser.mjs';
import { PASSWORD, Watch, until } from './server.mjs';

const SCENARIO = `nodes pve1 pve2
guest qemu/100 web01 on pve1 running onboot
guest qemu/101 web02 on pve2 running onboot
guest qemu/102 idle on pve2 running
guest lxc/103 dns on pve2 running onboot
storage local local 100GiB used 20%
at 24:00:00 end
`;

let watch;
let answers = 500;
const hook = createServer((request, response) => {
  request.resume();
  request.on('end', () => response.writeHead(answers).end('<b>broken</b>'));
});
before(async () => {
  hook.listen(0, '127.0.0.1');
  await once(hook, 'listening');
  const config = `[[webhook]]
name = "pager"
url = "http://127.0.0.1:${hook.address().port}/"
secret_file = "FOLDER/hook"
least = "info"
[autonomy]
level = 3
[[runbook]]
id = "vm-crashed-restart"
grace = "1s"
first_look = "1s"
verify_for = "1s"
[[runbook]]
id = "ct-crashed-restart"
attempts = 1
grace = "1s"
first_look = "1s"
verify_for = "1s"
`;
  watch = await Watch.start({ scenario: SCENARIO, config, files: { hook: `whsec_${Buffer.alloc(32, 7).toString('base64')}\n` } });
  await watch.call('POST', '/api/v1/users', { name: 'vera', role: 'viewer', clusters: null, password: PASSWORD });
  await watch.call('POST', '/api/v1/users', { name: 'olga', role: 'operator', clusters: null, password: PASSWORD });
});
after(async () => {
  hook.close();
  hook.closeAllConnections();
  await watch.stop();
});

test('an attempt is shown with what its task wrote; a viewer is shown neither', async () => {
  await watch.happens('crash qemu/100');
  const over = async () => (await watch.call('GET', '/api/v1/incidents?state=resolved&subject=qemu/100')).items[0];
  const incident = await until(over, 'it is mended', 60_000);
  assert.equal(incident.resolution, 'mended');
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url, 'olga', `/incidents/${incident.id}`);
    await page.getByRole('heading', { name: 'VM web01 crashed' }).waitFor();
    const task = page.locator('details[data-task]');
    assert.equal(await task.count(), 1, 'one attempt, one task');
    await task.getByText("What PVE's task wrote").click();
    await task.getByText('TASK OK').waitFor();
    assert.match(await task.getAttribute('data-task'), /^UPID:pve1:.*:qmstart:100:/);
    assert.equal(await page.locator('[data-step=now]').count(), 0, 'it is over, and nothing objects any more');
    // What there is none of is told as that, and nothing else is asked of the cluster.
    for (const [name, upid, said] of [
      ['one that PVE does not know', 'UPID:pve1:0000C8E4:0000E1BB:6AAF0B1A:qmstart:100:root@pam:', /PVE knows of no such task/],
      ['of a node that is not there', 'UPID:pve9:0000C8E4:0000E1BB:6AAF0B1A:qmstart:100:root@pam:', /there is none of that name/],
      ['none at all', '../../status', /there is no such task: it is written UPID:NODE/],
    ]) {
      const answer = await page.evaluate(async (path) => (await fetch(path)).json(), `/api/v1/clusters/lab/tasks/${encodeURIComponent(upid)}/log`);
      assert.equal(answer.status, 404, name);
      assert.match(answer.detail, said, name);
    }
    await page.getByText('Not done then').first().waitFor();
    assert.deepEqual(page.wrong, []);
  });
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url, 'vera', `/incidents/${incident.id}`);
    await page.getByText('Operators see its journal as well').waitFor();
    assert.equal(await page.locator('[data-task]').count(), 0);
    const [upid] = (await watch.call('GET', `/api/v1/incidents/${incident.id}`)).journal.flatMap(({ entry }) => JSON.stringify(entry).match(/UPID:[^"]+/) ?? []);
    const status = await page.evaluate(async (path) => (await fetch(path)).status, `/api/v1/clusters/lab/tasks/${encodeURIComponent(upid)}/log`);
    assert.equal(status, 403);
    assert.deepEqual(page.wrong, []);
  });
});

test('after the last attempt nothing is said of those that helped, nor that anybody was called', async () => {
  const of = async (state) => (await watch.call('GET', `/api/v1/incidents?state=${state}&subject=lxc/103`)).items[0];
  await watch.happens('crash lxc/103');
  const mended = await until(() => of('resolved'), 'the one attempt helps', 60_000);
  assert.equal(mended.resolution, 'mended');
  await watch.happens('crash lxc/103');
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url, 'olga');
    const row = page.locator('[data-incident]', { hasText: 'dns' });
    await row.getByText('For a person: it was tried as often as its runbook allows, and no more is done').waitFor({ timeout: 30_000 });
    await row.getByRole('link').first().click();
    await page.getByText('Left to people').waitFor();
    assert.equal(await page.getByText(/not helped|called/).count(), 0);
    assert.deepEqual(page.wrong, []);
  });
  const { id } = await of('open');
  await watch.call('POST', `/api/v1/incidents/${id}/resolve`, {});
});

test('what objects now is told apart from what objected before', async () => {
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url, 'olga');
    await page.getByRole('button', { name: 'Stop Jarvis' }).click();
    await watch.happens('crash qemu/101');
    const row = page.locator('[data-incident]', { hasText: 'web02' });
    await row.getByText(/Held: .*the kill switch is on/).waitFor({ timeout: 30_000 });
    await row.getByRole('link').first().click();
    const holds = page.getByRole('list', { name: 'What objects now' });
    await holds.getByText(/the kill switch is on; it does not pass by itself/).waitFor();
    const now = page.locator('[data-step=now]');
    await now.getByText('stands now').waitFor();
    assert.equal(await now.count(), 1);
    assert.match(await now.innerText(), /kill switch/);
    await page.getByRole('button', { name: 'Let Jarvis go on…' }).click();
    await page.getByRole('button', { name: 'Let it go on' }).click();
    await page.locator('[data-next=over]').waitFor({ timeout: 40_000 });
    assert.equal(await holds.count(), 0);
    assert.equal(await now.count(), 0);
    assert.deepEqual(page.wrong, []);
  });
});

test('who is told, and what went wrong with it', async () => {
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url, 'vera', '/jarvis');
    const row = page.locator('[data-channel="webhook:pager"]');
    await row.getByText(/fails since/).waitFor({ timeout: 30_000 });
    const words = await row.innerText();
    assert.match(words, /never yet/);
    assert.match(words, /500/);
    answers = 204;
    await row.getByText('works').waitFor({ timeout: 90_000 });
    assert.doesNotMatch(await row.innerText(), /never yet/);
    assert.deepEqual(page.wrong, []);
  });
});

test('what the token lacks stands with the command that mends it, to be copied', async () => {
  await watch.happens('rights jarvis@pve!page auditor-Sys.Audit');
  await withBrowser({ permissions: ['clipboard-read', 'clipboard-write'] }, async (context) => {
    const page = await logInto(context, watch.url, 'admin', '/jarvis');
    await page.getByRole('button', { name: 'Ask the cluster' }).click();
    const missing = page.locator('[data-finding=missing]', { hasText: 'Sys.Audit' });
    await missing.first().waitFor({ timeout: 30_000 });
    // The sum is that of what stands below.
    const [lacks, notes] = [await page.locator('[data-finding=missing]').count(), await page.locator('[data-finding=note]').count()];
    const sum = `${lacks} ${lacks === 1 ? 'thing is' : 'things are'} missing${notes > 0 ? `; ${notes} ${notes === 1 ? 'note' : 'notes'} worth a look` : ''}, `;
    await page.getByRole('status').filter({ hasText: sum }).waitFor();
    const command = await missing.first().locator('pre').first().innerText();
    assert.match(command, /^pveum /);
    await missing.first().getByRole('button', { name: 'Copy' }).first().click();
    await missing.getByText('Copied').waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), command);
    assert.deepEqual(page.wrong, []);
  });
  await watch.happens('rights jarvis@pve!page full');
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url, 'admin', '/jarvis');
    const sum = page.getByRole('status').filter({ hasText: 'All that is needed is there' });
    // An answer of a moment ago is given once more, so it is asked until a new one comes.
    const asked = async () => {
      await page.getByRole('button', { name: /^Ask/ }).click();
      return (await sum.count()) > 0;
    };
    await until(asked, 'nothing is missing any more', 60_000);
    const notes = await page.locator('[data-finding=note]').count();
    assert.equal(Number((await sum.innerText()).match(/; (\d+) notes? worth/)?.[1] ?? 0), notes);
    assert.equal(await page.locator('[data-finding=missing]').count(), 0);
    assert.deepEqual(page.wrong, []);
  });
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url, 'olga', '/jarvis');
    await page.getByText('Admins can ask here what the token lacks').waitFor();
    assert.equal(await page.getByRole('button', { name: 'Ask the cluster' }).count(), 0);
    const status = await page.evaluate(async () => (await fetch('/api/v1/clusters/lab/checkup')).status);
    assert.equal(status, 403);
    assert.deepEqual(page.wrong, []);
  });
});

test('the whole journal is verified and exported from the page', async () => {
  await withBrowser({ acceptDownloads: true }, async (context) => {
    const page = await logInto(context, watch.url, 'olga', '/audit');
    await page.getByRole('button', { name: 'Verify the chain' }).click();
    await page.locator('[data-chain=whole]').getByText('The journal is as it was written').waitFor({ timeout: 30_000 });
    const save = async () => {
      const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: /^Export/ }).click()]);
      assert.equal(file.suggestedFilename(), 'jarvis-journal.ndjson');
      return (await readFile(await file.path(), 'utf8')).trimEnd().split('\n').map((line) => JSON.parse(line));
    };
    const all = await save();
    const newest = (await watch.call('GET', '/api/v1/journal?limit=1')).items[0].seq;
    const seqs = new Set(all.map(({ seq }) => seq));
    assert.equal(seqs.size, all.length, 'each once');
    assert.ok(newest - all.length < 5 && all.some(({ seq }) => seq === 1), `${all.length} rows of ${newest}`);
    await page.getByRole('combobox', { name: 'Kind' }).selectOption('acted');
    const acted = await save();
    assert.ok(acted.length >= 2 && acted.every(({ kind }) => kind === 'acted'), JSON.stringify(acted.map(({ kind }) => kind)));
    assert.deepEqual(page.wrong, []);
  });
});

test('what one person did is asked for by their name, and told without the words of programs', async () => {
  await watch.call('POST', '/api/v1/silences', { subject: 'qemu/102', minutes: 5, note: 'of admin' });
  await withBrowser({ acceptDownloads: true }, async (context) => {
    const page = await logInto(context, watch.url, 'olga', '/audit');
    const rows = page.getByRole('region', { name: 'Rows of the journal' }).locator('tbody tr');
    await rows.filter({ hasText: 'silence set, cluster lab, note of admin, subject qemu/102' }).first().waitFor();
    await rows.filter({ hasText: /openedJarvisopened/ }).first().waitFor();
    await page.getByRole('textbox', { name: 'Who' }).fill('olga');
    await until(async () => !(await rows.allInnerTexts()).some((row) => /Jarvis|admin \(login\)/.test(row)), 'only hers are left');
    const hers = await rows.allInnerTexts();
    assert.ok(hers.length > 0 && hers.every((row) => row.includes('olga (login)')), hers.join('\n'));
    const [file] = await Promise.all([page.waitForEvent('download'), page.getByRole('link', { name: 'Export all that fit' }).click()]);
    const exported = (await readFile(await file.path(), 'utf8')).trimEnd().split('\n').map((line) => JSON.parse(line));
    assert.ok(exported.length >= hers.length && exported.every(({ by }) => by === 'olga (login)'), JSON.stringify(exported.map(({ by }) => by)));
    await page.getByText('To prove it to somebody who does not trust this server').click();
    await page.getByText('names the first row that was changed').waitFor();
    assert.deepEqual(page.wrong, []);
  });
});

test('a row that somebody touched is named on the page', async () => {
  const [written, touched] = ['what was said, really', 'what I would have had'];
  await watch.call('POST', '/api/v1/silences', { subject: 'qemu/102', minutes: 5, note: written });
  const rows = (await watch.call('GET', '/api/v1/journal?kind=operator&limit=20')).items;
  const { seq } = rows.find(({ entry }) => JSON.stringify(entry).includes(written));
  await watch.down('SIGTERM');
  const path = `${watch.folder}/jarvis.db`;
  const store = await readFile(path);
  let count = 0;
  for (let at = store.indexOf(written); at >= 0; at = store.indexOf(written, at)) count += store.write(touched, at) > 0;
  assert.ok(count > 0, 'it is in the file');
  await writeFile(path, store);
  await watch.launch();
  await withBrowser({}, async (context) => {
    const page = await logInto(context, watch.url, 'olga', '/audit');
    await page.getByRole('button', { name: 'Verify the chain' }).click();
    const found = page.locator('[data-chain=broken]');
    await found.getByText('The journal does not fit').first().waitFor({ timeout: 30_000 });
    assert.match(await found.innerText(), new RegExp(`row ${seq}\\b`));
    assert.deepEqual(page.wrong, []);
  });
});
