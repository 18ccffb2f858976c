// Runs the unit tests: bundles each with esbuild (Node 20 reads no TypeScript) and gives them to node's own test runner.
import { build } from "esbuild";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const tests = readdirSync(join(root, "tests/unit")).filter((name) => name.endsWith(".test.ts"));
const wanted = tests.filter((name) => process.argv.slice(2).every((word) => name.includes(word)));
// Without a file, node would run every test that it finds.
if (!wanted.length) { console.error(`no unit test has all of these words in its name: ${process.argv.slice(2).join(" ")}`); process.exit(2); }
const out = mkdtempSync(join(tmpdir(), "console-unit-"));
await build({
  absWorkingDir: root,
  entryPoints: wanted.map((name) => `tests/unit/${name}`),
  outdir: out,
  outExtension: { ".js": ".mjs" },
  bundle: true,
  platform: "node",
  format: "esm",
  sourcemap: "inline",
  // Some packages are CommonJS and ask for modules of node.
  banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
  jsx: "automatic",
  jsxImportSource: "preact",
});
const files = readdirSync(out).map((name) => join(out, name));
const run = spawnSync(process.execPath, ["--enable-source-maps", "--test", ...files], { stdio: "inherit" });
rmSync(out, { recursive: true, force: true });
process.exit(run.status ?? 1);
