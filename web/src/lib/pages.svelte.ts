// Pages: a list that is read page by page, as it is filtered now.
import { wordsOf } from './api';

/** How many pages are asked for at once: one may be short, even empty, where a filter fits little. */
const PAGES_MAX = 20;

type Page<T> = { items: T[]; next?: string | null };

export class Pages<T> {
  items = $state.raw<T[]>([]);
  /** Where the rest begins; nothing at the end. */
  next = $state<string | undefined>();
  failed = $state('');
  asking = $state(true);
  /** Of several questions the last one counts. */
  #turn = 0;
  readonly #size: number;
  readonly #ask: (cursor: string | undefined) => Promise<Page<T>>;

  /** `ask` gives one page, as it is filtered when it is asked. */
  constructor(size: number, ask: (cursor: string | undefined) => Promise<Page<T>>) {
    this.#size = size;
    this.#ask = ask;
  }

  /** From the beginning, or what comes after what is there. */
  async read(more = false): Promise<void> {
    const mine = ++this.#turn;
    this.asking = true;
    try {
      let cursor = more ? this.next : undefined;
      let found = more ? this.items : [];
      const enough = found.length + this.#size;
      for (let pages = 0; pages < PAGES_MAX; pages += 1) {
        const page = await this.#ask(cursor);
        if (mine !== this.#turn) return;
        found = [...found, ...page.items];
        cursor = page.next ?? undefined;
        if (!cursor || found.length >= enough) break;
      }
      this.items = found;
      this.next = cursor;
      this.failed = '';
    } catch (error) {
      if (mine === this.#turn) this.failed = wordsOf(error);
    } finally {
      if (mine === this.#turn) this.asking = false;
    }
  }
}
