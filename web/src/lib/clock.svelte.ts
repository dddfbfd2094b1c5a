// Clock: what time it is by Jarvis's clock, which made all times; a browser's own may be wrong, and the demo's runs faster.
import { get, type Schemas } from './api';

const ASK_EVERY = 60_000;
let base = { now: Date.now(), at: performance.now(), pace: 1 };
let now = $state(Date.now());

const tick = (): void => {
  now = base.now + (performance.now() - base.at) * base.pace;
};

export const clock = {
  /** Milliseconds, by Jarvis's clock; read within a component it is renewed each second. */
  get now(): number {
    return now;
  },
  get pace(): number {
    return base.pace;
  },
  /** The time right now, for whoever is not shown. */
  exact: (): number => base.now + (performance.now() - base.at) * base.pace,
};

async function ask(): Promise<void> {
  const before = performance.now();
  const { now: said, pace } = await get<Schemas['Clock']>('/api/v1/clock');
  const after = performance.now();
  base = { now: Date.parse(said), at: (before + after) / 2, pace };
  tick();
}

export function startClock(): () => void {
  const renew = (): void => {
    ask().catch(() => {
      // It goes on from what it knows; that nobody answers is said elsewhere.
    });
  };
  renew();
  const asking = setInterval(renew, ASK_EVERY);
  const ticking = setInterval(tick, 1000);
  return () => {
    clearInterval(asking);
    clearInterval(ticking);
  };
}
