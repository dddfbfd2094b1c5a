// Every screen, as the tests and the pictures visit them.

/** [name, address]; `ids` are of an incident, where there is one. */
export const screens = ({ cluster, kind = 'qemu', vmid, node, incident }) => [
  ['overview', '/'],
  ['incidents', '/incidents'],
  ...(incident ? [['incident', `/incidents/${incident}`]] : []),
  ['activity', '/activity'],
  ['guests', '/guests'],
  ['guest', `/guests/${cluster}/${kind}/${vmid}`],
  ['node', `/nodes/${cluster}/${node}`],
  ['policy', '/policy'],
  ['audit', '/audit'],
  ['health', '/jarvis'],
  ['users', '/users'],
  ['nowhere', '/nowhere-at-all'],
];

/** Goes there without loading the page anew, and waits until it stands still. */
export async function visit(page, path) {
  await page.evaluate((to) => {
    history.pushState(null, '', to);
    dispatchEvent(new PopStateEvent('popstate'));
  }, path);
  await page.locator('main h1, main h2').first().waitFor();
  await page.waitForLoadState('networkidle').catch(() => {});
  await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
}
