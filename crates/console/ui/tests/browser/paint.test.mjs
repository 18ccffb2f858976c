// 500 workloads that make 5,000 different calls: when something is first seen, and when the graph stands. Wall time says more of
// the machine, so it is told; judged is how much of the page's own thread it takes.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createServer } from "node:http";
import { browse, graph } from "./harness.mjs";

const scene = { scenario: "wide", interval: 3600 };
const painted = (page) => page.evaluate(() => new Promise((done) => {
  new PerformanceObserver((list) => {
    const content = list.getEntriesByName("first-contentful-paint")[0];
    if (content) done([performance.getEntriesByName("first-paint")[0].startTime, content.startTime]);
  }).observe({ type: "paint", buffered: true });
}));

// A browser that has just been started has more to do before its first picture than the page: how long it takes with a page of one word
// is told beside it.
test("the very first page of a browser", async (t) => {
  const word = createServer((_, response) => { response.writeHead(200, { "content-type": "text/html" }); response.end("<!doctype html><title>-</title><p>word"); });
  await new Promise((done) => word.listen(0, "127.0.0.1", done));
  const bare = await browse(scene);
  await bare.page.goto(`http://127.0.0.1:${word.address().port}/`, { waitUntil: "commit" });
  const [, least] = await painted(bare.page);
  await bare.close();
  word.close();
  const it = await browse(scene);
  try {
    await it.page.goto(it.mock.url + "/console/graph", { waitUntil: "commit" });
    const [paint, content] = await painted(it.page);
    await graph(it.page);
    const drawn = await it.page.evaluate(() => performance.getEntriesByName("graph-drawn")[0].startTime);
    t.diagnostic(`first paint ${paint.toFixed(0)} ms, with content ${content.toFixed(0)} ms, graph drawn ${drawn.toFixed(0)} ms; a page of one word: ${least.toFixed(0)} ms`);
    assert.ok(paint > 0 && drawn > paint, "the page is seen before its graph is");
  } finally { await it.close(); }
});

test("the frame is seen while everything else is still waited for", async () => {
  const it = await browse(scene);
  try {
    const held = [];
    let release;
    const answered = new Promise((done) => { release = done; });
    await it.page.route("**/console/assets/**", async (route) => { held.push(route.request().url()); await answered; await route.continue(); });
    await it.page.goto(it.mock.url + "/console/graph", { waitUntil: "commit" });
    await painted(it.page);
    assert.ok(held.some((url) => url.endsWith(".css")) && held.some((url) => url.endsWith(".js")), "its script and the rest of its styles are waited for");
    assert.equal(await it.page.locator(".nav").evaluate((nav) => getComputedStyle(nav).display), "flex", "the frame has its looks");
    release();
    await graph(it.page);
  } finally { await it.close(); }
});

let it;
before(async () => { it = await browse(scene); });
after(() => it.close());

async function opened(t, name, path) {
  await it.page.goto("about:blank");
  const client = await it.context.newCDPSession(it.page);
  await client.send("Performance.enable", { timeDomain: "threadTicks" });
  const busy = async () => { const { metrics } = await client.send("Performance.getMetrics"); return metrics.find((m) => m.name === "ThreadTime").value * 1000; };
  const from = await busy();
  await it.page.goto(it.mock.url + path, { waitUntil: "commit" });
  const g = await graph(it.page);
  const cpu = (await busy()) - from;
  const [paint, first, drawn] = await it.page.evaluate(() => [
    performance.getEntriesByName("first-paint")[0]?.startTime, performance.getEntriesByName("first-contentful-paint")[0]?.startTime, performance.getEntriesByName("graph-drawn")[0]?.startTime,
  ]);
  t.diagnostic(`${name}: first paint ${paint?.toFixed(0)} ms, with content ${first?.toFixed(0)} ms, graph drawn ${drawn?.toFixed(0)} ms (${g.nodes.length} nodes, ${g.edges.length} edges, ${g.renderer}); ${cpu.toFixed(0)} ms CPU of the main thread`);
  assert.ok(paint > 0 && drawn > paint, "the page is seen before its graph is");
  await client.detach();
  return { g, cpu };
}

test("500 workloads and 5,000 calls, as the page shows them first: by namespace", async (t) => {
  await opened(t, "warming up", "/console/graph");
  const { g, cpu } = await opened(t, "by namespace", "/console/graph");
  assert.equal(g.nodes.length, 20);
  assert.ok(cpu < 2500, `${cpu} ms`);
});

test("500 workloads and 5,000 calls, every one of them", async (t) => {
  const { g, cpu } = await opened(t, "all", "/console/graph?type=workload&show=-services,all");
  assert.equal(g.nodes.length, 500);
  assert.equal(g.edges.length, 5000);
  assert.ok(cpu < 4000, `${cpu} ms`);
});
