// Every screen of the page in the demo, light, dark and on a phone, into target/screenshots: to be looked at.

import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { open, withBrowser } from './browser.mjs';
import { screens, visit } from './screens.mjs';
import { Demo, until } from './server.mjs';

const out = join(dirname(fileURLToPath(import.meta.url)), '..', '..', 'target', 'screenshots');
await mkdir(out, { recursive: true });
const demo = await Demo.start();
const variants = [
  ['light', { colorScheme: 'light' }],
  ['dark', { colorScheme: 'dark' }],
  ['phone', { colorScheme: 'light', viewport: { width: 390, height: 844 }, hasTouch: true, deviceScaleFactor: 2 }],
  ['wall', { colorScheme: 'dark', viewport: { width: 2560, height: 1440 } }],
];
/** What a screen shows only when it is asked. */
const opened = {
  health: async (page) => {
    await page.getByRole('button', { name: 'Ask the cluster' }).click();
    await page.locator('[data-finding]').first().waitFor();
  },
  audit: async (page) => {
    await page.getByRole('button', { name: 'Verify the chain' }).click();
    await page.locator('[data-chain=whole]').waitFor();
  },
};
/** Somebody works on a node that nothing else happens to, each week on a tag, and knows of a disk. */
const announced = [
  ['maintenance', { subject: 'node/pve4', minutes: 120, note: 'new memory' }],
  ['maintenance', { subject: 'tag:web', days: ['sat', 'sun'], at: '02:00', minutes: 60, zone: 'Europe/Berlin', note: 'updates' }],
  ['silences', { subject: 'storage/local', condition: 'STORAGE_HIGH', minutes: 1440, note: 'a bigger disk is on its way' }],
];
const login = await fetch(`${demo.url}/api/auth/login`, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"password":"demo"}' });
const { token } = await login.json();
for (const [path, body] of announced) {
  const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${token}` };
  const made = await fetch(`${demo.url}/api/v1/${path}`, { method: 'POST', headers, body: JSON.stringify(body) });
  if (!made.ok) throw new Error(`${path}: ${await made.text()}`);
}
try {
  for (const [variant, options] of variants) {
    await withBrowser(options, async (context) => {
      const page = await open(context, `${demo.url}/setup#code=EXAMPLE`);
      await page.screenshot({ path: join(out, `setup-${variant}.png`) });
      await page.goto(`${demo.url}/login`);
      await page.screenshot({ path: join(out, `login-${variant}.png`) });
      await page.goto('about:blank');
      await page.goto(demo.link);
      await page.locator('[data-verdict]').waitFor();
      const incident = await until(
        () => page.evaluate(async () => (await (await fetch('/api/v1/incidents?limit=1')).json()).items[0]?.id),
        'an incident',
        30_000,
      );
      for (const [screen, path] of screens({ cluster: 'demo', vmid: 101, node: 'pve2', incident })) {
        await visit(page, path);
        if (screen === 'incident') await page.locator('[data-next]').waitFor();
        await opened[screen]?.(page);
        await page.screenshot({ path: join(out, `${screen}-${variant}.png`), fullPage: variant === 'phone' });
      }
      await visit(page, '/policy');
      await page.getByRole('button', { name: 'Announce maintenance' }).click();
      await page.getByLabel('Each week').check();
      await page.screenshot({ path: join(out, `form-${variant}.png`) });
      if (page.wrong.length > 0) throw new Error(page.wrong.join('\n'));
    });
    console.log(`${variant}: done`);
  }
} finally {
  await demo.stop();
}
console.log(`the pictures are in ${out}`);
