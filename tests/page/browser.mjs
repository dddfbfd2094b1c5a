// The browser of the tests: Debian's chromium with a profile of its own, and the pages that are opened in it.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { PASSWORD } from './server.mjs';

const path = process.env.CHROMIUM ?? '/usr/bin/chromium';
const args = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Runs `use` with a browser; both it and its profile are gone afterwards. */
export async function withBrowser(options, use) {
  const profile = await mkdtemp(join(tmpdir(), 'jarvis-page-'));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: path,
    headless: true,
    args,
    locale: 'en-GB',
    timezoneId: 'UTC',
    viewport: { width: 1440, height: 900 },
    ...options,
  });
  context.setDefaultTimeout(15_000);
  try {
    return await use(context);
  } finally {
    await context.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

/** A page whose errors, refused loads and broken policies are kept, to be looked at in the end. */
export async function open(context, url) {
  const page = await context.newPage();
  const wrong = [];
  page.on('pageerror', (error) => wrong.push(`error: ${error.stack ?? error}`));
  page.on('console', (message) => {
    // That a call was refused is the page's business, and the browser's console says it too.
    const refused = message.text().startsWith('Failed to load resource');
    const gone = /WebSocket connection to .* failed/.test(message.text());
    if (message.type() === 'error' && !refused && !gone) wrong.push(`console: ${message.text()}`);
  });
  page.wrong = wrong;
  if (url) await page.goto(url);
  return page;
}

/** A page of somebody who has just logged in, on their way to `path`. */
export async function logInto(context, url, user = 'admin', path = '/') {
  const page = await open(context, url + path);
  await page.getByLabel('User').fill(user);
  await page.getByLabel('Password', { exact: true }).fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByRole('navigation').waitFor();
  return page;
}

/** A time zone in which it is this hour now. */
export function zoneAt(hour) {
  const ahead = ((hour - new Date().getUTCHours() + 36) % 24) - 12;
  // The zone of those who are ahead of Greenwich has a minus in its name.
  return ahead === 0 ? 'UTC' : `Etc/GMT${ahead > 0 ? '-' : '+'}${Math.abs(ahead)}`;
}
