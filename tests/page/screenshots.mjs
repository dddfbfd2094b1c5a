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
        await page.screenshot({ path: join(out, `${screen}-${variant}.png`), fullPage: variant === 'phone' });
      }
      if (page.wrong.length > 0) throw new Error(page.wrong.join('\n'));
    });
    console.log(`${variant}: done`);
  }
} finally {
  await demo.stop();
}
console.log(`the pictures are in ${out}`);
