import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

// One script and one style sheet: they are embedded in the binary, and together smaller than a dozen requests.
export default defineConfig({
  plugins: [svelte()],
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
