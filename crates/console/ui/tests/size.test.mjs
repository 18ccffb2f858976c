// The first load is at most 100 kB, gzipped: what the page asks for before it shows the graph.
import assert from "node:assert/strict";
import { test } from "node:test";
import { readFileSync, readdirSync } from "node:fs";
import { gzipSync } from "node:zlib";

const dist = new URL("../dist/", import.meta.url);
const size = (name) => gzipSync(readFileSync(new URL(name, dist)), { level: 9 }).length;

test("first load is at most 100 kB gzip", (t) => {
  const html = readFileSync(new URL("index.html", dist), "utf8");
  const named = [...html.matchAll(/(?:src|href)="(assets\/[^"]+|icon\.svg)"/g)].map((m) => m[1]);
  assert.ok(named.some((n) => n.endsWith(".js")) && named.some((n) => n.endsWith(".css")), "the page names its script and style");
  const worker = readdirSync(new URL("assets", dist)).find((n) => n.startsWith("layout.worker"));
  const files = [...new Set(["index.html", ...named, `assets/${worker}`, ...statics(named.filter((n) => n.endsWith(".js")))])];
  const sum = files.reduce((s, f) => s + size(f), 0);
  t.diagnostic(`first load ${(sum / 1000).toFixed(1)} kB gzip in ${files.length} files`);
  assert.ok(sum <= 100_000, `${sum} bytes`);
});

test("nothing is waited for before the frame is seen", () => {
  const html = readFileSync(new URL("index.html", dist), "utf8");
  const before = html.slice(0, html.indexOf('<div id="app">'));
  assert.match(before, /<style>[^<]*\.nav\{/, "its looks stand in the page");
  assert.doesNotMatch(before, /<script|rel="stylesheet"/);
});

/** Files that scripts import statically, and theirs. */
function statics(scripts) {
  const found = new Set(scripts);
  for (const script of found) {
    const text = readFileSync(new URL(script, dist), "utf8");
    for (const m of text.matchAll(/(?:from|import)\s*"\.\/([^"]+\.js)"/g)) found.add(`assets/${m[1]}`);
  }
  return found;
}

test("no file names another host that something could be loaded from", () => {
  for (const name of readdirSync(new URL("assets", dist))) {
    const text = readFileSync(new URL(`assets/${name}`, dist), "utf8");
    assert.doesNotMatch(text, /(?:import|fetch|src=|href=|url\()\s*\(?["']?https?:\/\//, name);
  }
});
