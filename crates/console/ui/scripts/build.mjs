// Builds the static files that the binary embeds: dist/index.html and dist/assets/*, whose names carry a hash of their content
// so that they can be cached for ever. Nothing is fetched; the same input gives the same bytes.
import { build } from "esbuild";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { basename } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const common = {
  absWorkingDir: root,
  bundle: true,
  minify: true,
  target: ["es2022"],
  legalComments: "none",
  metafile: true,
  outdir: "dist/assets",
  entryNames: "[name]-[hash]",
  chunkNames: "chunk-[hash]",
  jsx: "automatic",
  jsxImportSource: "preact",
};

await rm(`${root}dist`, { recursive: true, force: true });
await mkdir(`${root}dist`, { recursive: true });

// The worker is a file of its own: its name is needed by what starts it.
const worker = await build({ ...common, format: "iife", entryPoints: ["src/graph/layout.worker.ts"] });
const workerFile = basename(Object.keys(worker.metafile.outputs)[0]);

const main = await build({
  ...common,
  format: "esm",
  splitting: true,
  entryPoints: ["src/main.tsx", "src/styles/main.css"],
  define: { LAYOUT_WORKER: JSON.stringify(workerFile) },
});

const output = (entry) => {
  const found = Object.entries(main.metafile.outputs).find(([, o]) => o.entryPoint === entry);
  return { file: basename(found[0]), imports: found[1].imports };
};
const script = output("src/main.tsx");
const style = output("src/styles/main.css");

// What starts it names it.
const start = await build({ ...common, format: "esm", entryPoints: ["src/start.ts"], define: { MAIN: JSON.stringify(`./${script.file}`) }, external: ["./main-*"] });
const startFile = basename(Object.keys(start.metafile.outputs)[0]);

// What the page is first seen by stands in it.
const first = await build({ ...common, entryPoints: ["src/styles/first.css"], write: false });

// Whatever is needed next is announced, so that it is not found one after another.
const preload = [script.file, ...script.imports.filter((i) => i.kind === "import-statement").map((i) => basename(i.path))]
  .map((file) => `<link rel="modulepreload" href="assets/${file}">`)
  .join("");

const page = await readFile(`${root}src/index.html`, "utf8");
await writeFile(
  `${root}dist/index.html`,
  page.replace("<!--first-->", () => `<style>${first.outputFiles[0].text.trim()}</style>`)
    // Behind the frame: it is shown without waiting for these. Scripts wait for the style sheet.
    .replace("<!--rest-->", () => `<link rel="stylesheet" href="assets/${style.file}"><script type="module" src="assets/${startFile}"></script>${preload}`),
);
await cp(`${root}src/icon.svg`, `${root}dist/icon.svg`);
