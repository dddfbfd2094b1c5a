// Names, tags and texts as an attacker would choose them, on every screen, light, dark and on a phone: they are text, they
// break nothing, and axe finds no fault.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { after, before, test } from 'node:test';
import { open, withBrowser } from './browser.mjs';
import { screens, visit } from './screens.mjs';
import { PASSWORD, Watch, until } from './server.mjs';

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const TURNED = '\u202eexe.gpj';
const LONG = 'x'.repeat(500);
const MARKUP = '<img/src=x/onerror=alert(1)>';
const SCENARIO = `nodes pve1 pve2
guest qemu/100 ${MARKUP} on pve1 running onboot tags=<script>alert(1)</script>,${TURNED}
guest qemu/101 ${LONG} on pve1 running onboot tags=${'t'.repeat(500)} pool=<b>pool</b>
guest qemu/102 שלום${TURNED} on pve2 running
guest lxc/103 "></a><h1>hi on pve2 running onboot
guest qemu/104 {{constructor.constructor('alert(1)')()}} on pve2 running
storage local local 100GiB used 96%
at 24:00:00 end
`;

let watch;
let incident;
before(async () => {
  watch = await Watch.start({ scenario: SCENARIO, config: '[autonomy]\nlevel = 2' });
  for (const summary of [`[User] ${MARKUP}: ${MARKUP}<svg onload=alert(2)>`, `[User] ${LONG}: ${LONG}`, `[User] ${TURNED}: ${TURNED}\u2066`]) {
    await watch.call('POST', '/api/memory/events', { type: 'alert', severity: 'error', summary });
  }
  await watch.call('POST', '/api/v1/tokens', { name: `${MARKUP}${'y'.repeat(40)}`.slice(0, 60), role: 'viewer' }).catch(() => {});
  await until(async () => (await watch.call('GET', '/api/v1/guests')).items.length === 5, 'the guests are seen');
  await watch.happens('crash qemu/100\ncrash qemu/101\nstop qemu/102 by <b>bob</b>@pve');
  for (const [path, subject] of [['maintenance', 'tag:<script>alert(1)</script>'], ['maintenance', `tag:${TURNED}`], ['silences', 'qemu/100']]) {
    await watch.call('POST', `/api/v1/${path}`, { subject, minutes: 60, note: `${MARKUP}${TURNED}${'n'.repeat(400)}` });
  }
  const { id } = await watch.call('POST', '/api/v1/maintenance', { subject: 'pool:<b>pool</b>', minutes: 60 });
  await watch.call('DELETE', `/api/v1/maintenance/${id}`);
  incident = await until(async () => {
    const { items } = await watch.call('GET', '/api/v1/incidents?state=open&condition=VM_CRASHED');
    return items.length >= 2 && items.find(({ subject }) => subject === 'qemu/100')?.id;
  }, 'the crashes are told', 30_000);
});
after(() => watch.stop());

const all = () => screens({ cluster: 'lab', vmid: 100, node: 'pve1', incident });

async function logIn(context) {
  const page = await open(context, watch.url);
  page.on('dialog', (dialog) => {
    page.wrong.push(`a dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('navigation').waitFor();
  await page.locator('[data-verdict]').waitFor();
  return page;
}

/** What has to be opened first, by its screen; each leaves the page as it is to be looked at. */
const OPENED = {
  policy: async (page) => {
    await page.getByText('Past ones').click();
    await page.locator('[data-notice=ended]').waitFor();
  },
  'policy, maintenance': async (page) => {
    await page.getByRole('button', { name: 'Announce maintenance' }).click();
    await page.getByLabel('Each week').check();
    await page.getByRole('button', { name: 'Announce it' }).click();
    await page.getByText('Not set: see what is marked above.').waitFor();
  },
  'policy, silence': (page) => page.getByRole('button', { name: 'Silence', exact: true }).click(),
  'policy, end': (page) => page.locator('[data-notice=inForce]').first().getByRole('button', { name: 'End' }).click(),
  health: async (page) => {
    await page.getByRole('button', { name: 'Ask the cluster' }).click();
    await page.getByText(/as (it|they) should be/).click();
  },
  audit: async (page) => {
    await page.getByRole('button', { name: 'Verify the chain' }).click();
    await page.locator('[data-chain=whole]').waitFor();
  },
};
const visits = () => all().flatMap(([screen, path]) => [[screen, path], ...Object.keys(OPENED).filter((name) => name.startsWith(`${screen},`)).map((name) => [name, path])]);

/** What must not be on any screen, whatever something is called. */
const intruders = () => {
  const found = [...document.querySelectorAll('#app img, #app script, #app iframe, #app b b, #app [onerror], #app [onload], #app svg svg')];
  const made = found.map((one) => one.outerHTML.slice(0, 80));
  if (document.querySelectorAll('h1').length !== 1) made.push(`${document.querySelectorAll('h1').length} headings h1`);
  return made;
};

/** What is cut by the window, or to be reached only by scrolling sideways, though it is for reading: the screens, and the journal's rows. */
const cut = () =>
  [...document.querySelectorAll('nav ul, nav a, [aria-label="Rows of the journal"]')]
    .filter((one) => one.scrollWidth > one.clientWidth || one.getBoundingClientRect().right > document.documentElement.clientWidth)
    .map((one) => one.getAttribute('aria-label') ?? one.textContent.trim().slice(0, 40));

async function faults(page) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() =>
    globalThis.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'], resultTypes: ['violations'] }),
  );
  return violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 3).map(({ html, any }) => `${html.slice(0, 160)} ${any[0]?.message ?? ''}`).join(' | ')}`);
}

for (const [name, options] of [
  ['light', { colorScheme: 'light' }],
  ['dark', { colorScheme: 'dark' }],
  ['a phone', { colorScheme: 'light', viewport: { width: 360, height: 760 }, hasTouch: true }],
]) {
  test(`hostile texts and axe on every screen: ${name}`, async () => {
    await withBrowser(options, async (context) => {
      const page = await logIn(context);
      const wrong = [];
      for (const [screen, path] of visits()) {
        await visit(page, path);
        if (screen === 'incident') await page.locator('[data-next]').waitFor();
        await OPENED[screen]?.(page);
        const made = await page.evaluate(intruders);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        wrong.push(...made.map((one) => `${screen}: became markup: ${one}`));
        wrong.push(...(await page.evaluate(cut)).map((one) => `${screen}: cut: ${one}`));
        if (wide > 0) wrong.push(`${screen}: ${wide} px wider than the window`);
        wrong.push(...(await faults(page)).map((one) => `${screen}: ${one}`));
        await page.keyboard.press('Escape');
      }
      assert.deepEqual([...wrong, ...page.wrong], []);
      await visit(page, '/guests');
      assert.equal(await page.getByRole('link', { name: MARKUP }).count(), 1, 'it is shown as it is called');
    });
  });
}

test('the login and the first start: hostile addresses, and axe', async () => {
  await withBrowser({}, async (context) => {
    const page = await open(context, `${watch.url}/incidents/${MARKUP.replace('/', ' ').replace('/', ' ')}`);
    await page.getByRole('heading', { name: 'Jarvis' }).waitFor();
    const wrong = await faults(page);
    await page.goto(`${watch.url}/setup#code=<img src=x onerror=alert(1)>`);
    await page.getByRole('heading', { name: 'Welcome to Jarvis' }).waitFor();
    wrong.push(...(await faults(page)), ...(await page.evaluate(intruders)));
    assert.deepEqual([...wrong, ...page.wrong], []);
  });
});
