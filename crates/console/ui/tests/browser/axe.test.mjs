// axe on every page, in both themes (of long lists the first rows: the others are made alike); every page has one heading of the first rank, and is walked by Tab without a trap.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { browse } from "./harness.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
let it;
before(async () => { it = await browse({ reducedMotion: "reduce" }); });
after(() => it.close());
const ago = (minutes) => it.mock.context.world.start - minutes * 60;

const pages = [
  ["overview", () => "/console/overview", ".tile"],
  ["graph", () => `/console/graph?at=${ago(10)}&sel=${encodeURIComponent("svc_local_blog-system_was-service>vapp_local_blog-system_was>http")}`, "#panel .examples"],
  ["graph as table", () => `/console/graph?at=${ago(10)}&as=table`, "tbody tr"],
  ["workloads", () => "/console/workloads", "tbody tr"],
  ["service", () => "/console/services/blog-system/web-service", ".facts"],
  ["wizard", () => "/console/services/blog-system/web-service?tab=wizards", ".yaml"],
  ["editor", () => "/console/config/blog-system/DestinationRule/web-dest-rule", ".cm-content"],
  ["history", () => "/console/config/blog-system/VirtualService/web-vsvc?tab=history", ".diff .cm-content"],
  ["logs", () => `/console/logs/blog-system/web?at=${ago(10)}`, ".log-line"],
  ["traces", () => `/console/traces?service=was.blog-system&at=${ago(10)}`, "tbody tr"],
  ["trace", () => "/console/traces/" + "5eedb106" + (Math.floor(ago(20) / 3) * 3).toString(16).padStart(24, "0"), "[role=treeitem]"],
  ["two traces", () => "/console/traces/" + [20, 21].map((m) => "5eedb106" + (Math.floor(ago(m) / 3) * 3).toString(16).padStart(24, "0")).join("/"), ".delta"],
  ["explain with headers", () => "/console/explain?from=blog-system/web&to=was-service&headers=x-a%3A%20b", "textarea"],
  ["graph with idle nodes as table", () => `/console/graph?at=${ago(20)}&as=table&show=idle`, "section tbody tr"],
  ["passthrough", () => `/console/graph?at=${ago(40)}&sel=svc_local_unknown_PassthroughCluster`, "#panel .yaml"],
  ["explain", () => "/console/explain?from=blog-system/web&to=blog.jiminhome.shop", ".steps"],
  ["mesh", () => "/console/mesh", "tbody tr"],
];

async function clean(page, say) {
  const { violations } = await page.evaluate(() => window.axe.run({ include: [document], exclude: [[".log-line:nth-child(n+16)"], ["tbody tr:nth-child(n+10)"]] }, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
  assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => `${n.target.join(" ")} ${n.any[0]?.message ?? ""}`).join(" | ")}`), [], say);
}

for (const [name, path, ready] of pages) {
  test(`${name}: nothing for axe to find, light and dark`, async () => {
    await it.page.goto(it.mock.url + path());
    await it.page.locator(ready).first().waitFor();
    await it.page.evaluate(axe);
    for (const colorScheme of ["light", "dark"]) {
      await it.page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await clean(it.page, colorScheme);
    }
    assert.equal(await it.page.locator("h1").count(), 1);
  });
}

test("what opens over a page: replay, an onset of errors, the legend, another's change, signing in", async () => {
  await it.page.goto(`${it.mock.url}/console/graph?at=${ago(2)}`);
  await it.page.locator("[data-placed]").waitFor();
  await it.page.evaluate(axe);
  for (const name of [/^Replay/, /^Errors began/, "Legend"]) {
    await it.page.getByRole("button", { name }).first().click();
    await it.page.locator("[popover]:popover-open").waitFor();
    await clean(it.page, String(name));
    await it.page.keyboard.press("Escape");
  }
  await it.page.goto(`${it.mock.url}/console/services/blog-system/web-service?tab=wizards`);
  await it.page.getByLabel("Weight of v2").fill("30");
  await it.page.getByRole("button", { name: "Review changes" }).click();
  await it.page.getByRole("button", { name: "Review taking them over" }).waitFor();
  await it.page.evaluate(axe);
  await clean(it.page, "managed");
  const other = await browse({ reducedMotion: "reduce", mode: "token", mustSignIn: true });
  await other.page.goto(`${other.mock.url}/console/overview`);
  await other.page.getByLabel("Bearer token").waitFor();
  await other.page.evaluate(axe);
  await clean(other.page, "sign in");
  await other.close();
});

test("Tab goes through the graph page and comes out at its end", async () => {
  await it.page.goto(`${it.mock.url}/console/graph?at=${ago(20)}`);
  await it.page.locator("[data-placed]").waitFor();
  await it.page.evaluate(() => document.body.focus());
  const seen = new Set();
  for (let i = 0; i < 60; i++) {
    await it.page.keyboard.press("Tab");
    seen.add(await it.page.evaluate(() => { const e = document.activeElement; return e === document.body ? "END" : e.className || e.tagName; }));
    if (seen.has("END")) break;
  }
  for (const stop of ["skip", "graph-host", "live-button"]) assert.ok([...seen].some((s) => s.includes(stop)), `${stop} in ${[...seen]}`);
});
