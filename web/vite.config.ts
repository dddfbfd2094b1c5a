import { readFileSync } from 'node:fs';
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

/** The guardrails in words, from the one place where they are written: the table of docs/runbooks.md. */
function guardrails(): [word: string, words: string][] {
  const text = readFileSync(new URL('../docs/runbooks.md', import.meta.url), 'utf8');
  const section = text.split('## The guardrails')[1]?.split('\n## ')[0] ?? '';
  // The page shows text: of a link its words are kept.
  const plain = (markdown: string): string => markdown.replace(/\[([^\]]*)\]\([^)]*\)/g, '$1').replaceAll('`', '');
  const rows = [...section.matchAll(/^\| `(\w+)` \| (.+) \|$/gm)].map((row): [string, string] => [row[1] ?? '', plain(row[2] ?? '')]);
  if (rows.length < 25) throw new Error(`docs/runbooks.md: only ${rows.length} guardrails were found in its table`);
  return rows;
}

// One script and one style sheet: they are embedded in the binary, and together smaller than a dozen requests.
export default defineConfig({
  plugins: [svelte()],
  define: { GUARDRAILS: JSON.stringify(guardrails()) },
  build: {
    target: 'es2022',
    // No style and no picture stands in the markup: the content security policy allows only files of our own.
    assetsInlineLimit: 0,
    modulePreload: false,
    cssCodeSplit: false,
    reportCompressedSize: false,
  },
  server: { proxy: { '/api': 'http://127.0.0.1:4000', '/socket.io': { target: 'http://127.0.0.1:4000', ws: true } } },
});
