// Router: which screen an address shows. Addresses are ordinary paths, so that a mail can carry one.
type Params = Record<string, string>;

/** The server has the same list (`report/site.rs`): it answers these with the page. */
const SCREENS = {
  overview: '/',
  login: '/login',
  setup: '/setup',
  incidents: '/incidents',
  incident: '/incidents/:id',
  activity: '/activity',
  guests: '/guests',
  guest: '/guests/:cluster/:kind/:vmid',
  node: '/nodes/:cluster/:node',
  policy: '/policy',
  audit: '/audit',
  jarvis: '/jarvis',
  users: '/users',
} as const;

export type Screen = keyof typeof SCREENS;
export type Route = { screen: Screen | 'nowhere'; params: Params; query: URLSearchParams };

function match(pattern: string, path: string): Params | undefined {
  const wanted = pattern.split('/');
  const given = path.split('/');
  if (wanted.length !== given.length) return undefined;
  const params: Params = {};
  for (const [at, part] of wanted.entries()) {
    const piece = given[at] ?? '';
    if (!part.startsWith(':')) {
      if (part !== piece) return undefined;
      continue;
    }
    try {
      params[part.slice(1)] = decodeURIComponent(piece);
    } catch {
      return undefined;
    }
    if (piece === '') return undefined;
  }
  return params;
}

function read(): Route {
  const path = location.pathname;
  const query = new URLSearchParams(location.search);
  for (const [screen, pattern] of Object.entries(SCREENS)) {
    const params = match(pattern, path);
    if (params) return { screen: screen as Screen, params, query };
  }
  return { screen: 'nowhere', params: {}, query };
}

let route = $state.raw<Route>(read());

export const here = (): Route => route;

export function go(path: string, replace = false): void {
  if (replace) history.replaceState(null, '', path);
  else if (path !== location.pathname + location.search) history.pushState(null, '', path);
  const before = route.screen;
  route = read();
  if (!replace && (route.screen !== before || !route.query.size)) scrollTo(0, 0);
}

/** Follows links within the page without loading it anew. */
export function listen(): () => void {
  const popped = (): void => {
    route = read();
  };
  const clicked = (event: MouseEvent): void => {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const link = (event.target as Element | null)?.closest('a[href]');
    if (!(link instanceof HTMLAnchorElement) || link.target || link.hasAttribute('download')) return;
    if (link.origin !== location.origin || link.pathname.startsWith('/api/')) return;
    if (link.hash && link.pathname === location.pathname) return;
    event.preventDefault();
    go(link.pathname + link.search);
  };
  addEventListener('popstate', popped);
  document.addEventListener('click', clicked);
  return () => {
    removeEventListener('popstate', popped);
    document.removeEventListener('click', clicked);
  };
}

const part = encodeURIComponent;
export const links = {
  incident: (id: string, cluster?: string): string => `/incidents/${part(id)}${cluster ? `?cluster=${part(cluster)}` : ''}`,
  guest: (cluster: string, kind: string, vmid: number | string): string => `/guests/${part(cluster)}/${part(kind)}/${part(String(vmid))}`,
  node: (cluster: string, node: string): string => `/nodes/${part(cluster)}/${part(node)}`,
};

/** Where the screen of a subject is, as PVE writes its id. */
export function subjectLink(cluster: string | null | undefined, subject: string | null | undefined): string | undefined {
  const [kind, name] = (subject ?? '').split('/');
  if (!cluster || !kind || !name) return undefined;
  if (kind === 'qemu' || kind === 'lxc') return links.guest(cluster, kind, name);
  if (kind === 'node' || kind === 'service') return links.node(cluster, name);
  return undefined;
}
