// Bundles the pages that need a canvas into ../static/build and writes manifest.json: entry -> {js, css}.
import { build } from 'esbuild';
import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';

const out = new URL('../static/build/', import.meta.url).pathname;
await rm(out, { recursive: true, force: true });
const { metafile } = await build({
  entryPoints: ['src/viewer.js', 'src/replay.js', 'src/modeler.js'],
  outdir: out,
  bundle: true,
  format: 'esm',
  target: 'es2022',
  minify: true,
  splitting: true,
  metafile: true,
  logLevel: 'warning',
  entryNames: '[name]-[hash]',
  chunkNames: 'chunk-[hash]',
  assetNames: '[name]-[hash]',
  jsx: 'automatic',
  jsxImportSource: '@bpmn-io/properties-panel/preact',
  loader: { '.woff': 'file', '.woff2': 'file', '.ttf': 'file', '.eot': 'file', '.svg': 'file' }
});
const manifest = {};
for (const [file, { entryPoint, cssBundle }] of Object.entries(metafile.outputs)) {
  if (!entryPoint) continue;
  manifest[basename(entryPoint, '.js')] = { js: basename(file), css: cssBundle ? basename(cssBundle) : null };
}
await mkdir(out + 'fonts', { recursive: true });
await cp('node_modules/@expo-google-fonts/noto-sans-sc/400Regular/NotoSansSC_400Regular.ttf', out + 'fonts/NotoSansSC-Regular.ttf');
await cp('node_modules/@expo-google-fonts/noto-sans-sc/LICENSE_FONT', out + 'fonts/LICENSE');
await writeFile(out + 'manifest.json', JSON.stringify(manifest, null, 1));
console.log(Object.entries(manifest).map(([name, { js }]) => `${name}: ${js}`).join('\n'));
