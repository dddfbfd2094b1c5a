// Packs what was built, so that the daemon sends it packed without doing so itself, and holds it to its limit.
import { readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { constants, gzipSync } from 'node:zlib';

/** What a page may weigh, packed: it is opened on a phone at night. */
const SCRIPTS_MAX = 150 * 1024;

const files = (folder) =>
  readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? files(path) : [path];
  });

let scripts = 0;
for (const path of files('dist').filter((path) => /\.(js|css|html|svg)$/.test(path))) {
  const packed = gzipSync(readFileSync(path), { level: constants.Z_BEST_COMPRESSION });
  writeFileSync(`${path}.gz`, packed);
  if (path.endsWith('.js')) scripts += packed.length;
  console.log(`${path}: ${packed.length} bytes packed`);
}
// The folder is under git's control, and what is in it is not; vite empties it.
writeFileSync('dist/.gitignore', '# The page as it was built lies here, and in the binary; see scripts/web.sh.\n*\n!.gitignore\n');
if (scripts > SCRIPTS_MAX) {
  console.error(`the scripts are ${scripts} bytes packed: ${SCRIPTS_MAX} at most`);
  process.exit(1);
}
