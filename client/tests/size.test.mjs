// What a page has to load, minified and compressed.
import assert from "node:assert/strict";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const SIZES = { index: 6144, assistant: 1024, live: 11264, react: 4096 };

for (const [entry, most] of Object.entries(SIZES)) {
  test(`${entry} is small`, async (context) => {
    const { outputFiles } = await build({
      entryPoints: [new URL(`../dist/${entry}.js`, import.meta.url).pathname],
      bundle: true,
      minify: true,
      format: "esm",
      target: "es2022",
      external: ["react"],
      write: false,
    });
    const size = gzipSync(outputFiles[0].contents, { level: 9 }).length;
    context.diagnostic(`${entry}: ${size} bytes`);
    assert.ok(size <= most, `${entry} has ${size} bytes`);
  });
}
