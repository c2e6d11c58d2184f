// Bundles the pages that need a canvas into ../static/build and writes manifest.json: entry -> {js, css}.
import { build } from 'esbuild';
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename } from 'node:path';

const out = new URL('../static/build/', import.meta.url).pathname;

/** Two libraries write style="…" into markup, which the content policy refuses: the same as attributes or as a class. */
const withoutInlineStyles = {
  name: 'without-inline-styles',
  setup({ onLoad }) {
    const rewrite = (filter, change) => onLoad({ filter }, async ({ path }) => {
      const text = await readFile(path, 'utf8'), contents = change(text);
      if (contents === text) throw new Error(`${basename(path)} has no inline style any more: drop its rule from build.mjs`);
      return { contents, loader: 'js' };
    });
    rewrite(/bpmn-js-properties-panel[\\/]dist[\\/]index\.esm\.js$/, text => text.replace('<div style="height: 100%" ', '<div '));
    rewrite(/(align|distribute)-elements[\\/]\w+Icons\.js$/, text => text.replace(/ style="([^"]*)"/g, (_whole, styles) =>
      styles.split(';').filter(Boolean).map(style => ` ${style.replace(':', '="')}"`).join('')));
  }
};

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
  loader: { '.woff': 'file', '.woff2': 'file', '.ttf': 'file', '.eot': 'file', '.svg': 'file' },
  plugins: [withoutInlineStyles]
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
