// 500 workloads that make 5,000 different calls: when something is first seen, and when the graph stands. Wall time says more of
// the machine, so it is told; judged is how much of the page's own thread it takes.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browse, graph } from "./harness.mjs";

let it;
before(async () => { it = await browse({ scenario: "wide", interval: 3600 }); });
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
