// The graph page against the mock: what is drawn, in which tones, with which numbers; time; find and hide; the panel; the keyboard.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browse, graph, node } from "./harness.mjs";

let it;
before(async () => { it = await browse({ reducedMotion: "reduce" }); });
after(async () => {
  assert.deepEqual(it.problems, [], "no script failed");
  assert.deepEqual([...it.hosts], [new URL(it.mock.url).host], "nothing was asked of another host");
  await it.close();
});
const open = async (path) => { await it.page.goto(it.mock.url + path); return graph(it.page); };
const ago = (minutes) => it.mock.context.world.start - minutes * 60;
const edge = (g, from, to, shape) => g.edges.find((e) => e.source === node(g, from, shape?.[0]).key && e.target === node(g, to, shape?.[1]).key);
const select = (path) => `${path}${path.includes("?") ? "&" : "?"}`;

test("ingress -> web -> was -> mysql: black, green with mTLS, black; boxes for namespaces", async () => {
  const g = await open(`/console/graph?at=${ago(20)}&ns=blog-system`);
  assert.equal(g.renderer, "webgl2");
  assert.equal(edge(g, "ingress-nginx", "web-service").tone, "plain");
  assert.equal(edge(g, "web-service", "web").tone, "plain");
  assert.equal(edge(g, "web", "was-service").tone, "mtls");
  assert.equal(edge(g, "web", "was-service").mtls, 1);
  assert.equal(edge(g, "was", "mysql", ["square", "diamond"]).tone, "plain");
  assert.equal(node(g, "was").tone, "mtls");
  assert.equal(node(g, "mysql", "square").tone, "plain", "outside the mesh");
  assert.deepEqual(g.boxes.sort(), ["blog-system", "ingress-nginx", "platform"]);
  const said = await it.page.evaluate(async (url) => (await fetch(url)).json(), `/console/api/graph?graphType=versionedApp&namespaces=blog-system&duration=600&injectServiceNodes=true&at=${ago(20)}`);
  const of = said.edges.find((e) => said.nodes[e.source].app === "web" && said.nodes[e.target].service === "was-service");
  assert.equal(edge(g, "web", "was-service").rate, of.rates.total, "the number is the server's");
});

test("the four graph types", async () => {
  for (const [type, name, shape] of [["app", "was", "square"], ["workload", "was", "circle"], ["service", "was-service", "diamond"], ["versionedApp", "was", "square"]]) {
    const g = await open(`/console/graph?at=${ago(20)}&type=${type}`);
    assert.ok(node(g, name, shape), `${type}: ${g.nodes.map((n) => `${n.name} ${n.shape}`)}`);
  }
});

test("503s are red, and the panel says by which rule, from how many, with the worst requests", async () => {
  const g = await open(`/console/graph?at=${ago(10)}`);
  const bad = edge(g, "was-service", "was");
  assert.equal(bad.tone, "failure");
  await it.page.goto(`${it.mock.url}${select(`/console/graph?at=${ago(10)}`)}sel=${encodeURIComponent(bad.id)}`);
  const panel = it.page.locator("#panel");
  await panel.getByText("Why this colour").waitFor();
  const text = await panel.innerText();
  assert.match(text, /Failure/);
  assert.match(text, /HTTP 5XX, inbound: degraded from any error, failure from 10 %/);
  assert.match(text, /requests failed \(22 %\)/);
  assert.match(text, /Enough requests to be sure/);
  assert.equal(await panel.locator(".examples li").count(), 3);
  assert.match(await panel.locator(".examples a").first().getAttribute("href"), /\/console\/traces\/5eedb106/);
});

test("PassthroughCluster says why, what was meant, and the mend", async () => {
  const g = await open(`/console/graph?at=${ago(40)}`);
  const hole = node(g, "PassthroughCluster");
  assert.equal(hole.shape, "octagon");
  assert.equal(hole.tone, "degraded");
  assert.equal(edge(g, "web", "PassthroughCluster").tone, "plain");
  await it.page.goto(`${it.mock.url}${select(`/console/graph?at=${ago(40)}`)}sel=${hole.key}`);
  const panel = it.page.locator("#panel");
  await panel.getByText("No service was found for this traffic").waitFor();
  const text = await panel.innerText();
  assert.match(text, /blog\.jiminhome\.shop/);
  assert.match(text, /10\.96\.114\.27:8080/);
  assert.match(text, /Service was-service\.blog-system/);
  assert.match(text, /proxy_set_header Host was-service/);
  // What can be mended by a resource is there to be copied, and to be reviewed.
  await panel.locator("pre.yaml").filter({ hasText: "kind: ServiceEntry" }).waitFor();
  await panel.getByRole("link", { name: "Review this resource" }).click();
  await it.page.locator(".cm-content").filter({ hasText: "fonts.example.com" }).waitFor();
});

test("time: the slider goes to the past and back to live, and nodes stay where they were", async () => {
  const live = await open("/console/graph");
  const was = node(live, "was");
  const slider = it.page.locator(".timeline input[type=range]");
  await slider.focus();
  // Forty of sixty minutes back: 160 of 240 steps.
  await slider.fill("80");
  await it.page.waitForFunction(() => new URLSearchParams(location.search).has("at"));
  await it.page.waitForFunction(() => window.__graph?.nodes.some((n) => n.name === "PassthroughCluster"));
  const past = await graph(it.page);
  assert.equal(node(past, "was").worldX, was.worldX);
  assert.equal(node(past, "was").worldY, was.worldY);
  await it.page.getByRole("button", { name: "Go live" }).click();
  await it.page.waitForFunction(() => !window.__graph?.nodes.some((n) => n.name === "PassthroughCluster"));
  assert.equal(await it.page.evaluate(() => new URLSearchParams(location.search).has("at")), false);
});

test("live numbers move, and go on after the stream was broken", async () => {
  const first = await open("/console/graph");
  const id = first.edges[0].id;
  const moved = (was) => it.page.waitForFunction(([id, was]) => window.__graph?.edges.find((e) => e.id === id)?.rate !== was, [id, was]);
  await moved(first.edges[0].rate);
  it.mock.dropStreams();
  const before_ = await it.page.evaluate((id) => window.__graph.edges.find((e) => e.id === id).rate, id);
  await moved(before_);
});

test("find marks and dims, hide takes away, and what is wrong is said", async () => {
  const at = ago(20);
  let g = await open(`/console/graph?at=${at}&find=${encodeURIComponent("app = was or rt > 100000")}`);
  assert.equal(node(g, "was").found, true);
  assert.equal(node(g, "web").dim, true);
  g = await open(`/console/graph?at=${at}&hide=${encodeURIComponent("om")}`);
  assert.equal(node(g, "mysql", "square"), undefined);
  assert.ok(node(g, "web"));
  await it.page.getByLabel("Find", { exact: true }).fill("colour = red");
  await it.page.getByRole("alert").filter({ hasText: "“colour” is not known" }).waitFor();
});

test("idle nodes are shown when asked for, with the reason", async () => {
  const g = await open(`/console/graph?at=${ago(20)}&show=idle`);
  const report = node(g, "report");
  assert.equal(report.tone, "idle");
  await it.page.goto(`${it.mock.url}/console/graph?at=${ago(20)}&show=idle&sel=${report.key}`);
  await it.page.locator("#panel").getByText("Scaled to zero").waitFor();
  await it.page.goto(`${it.mock.url}/console/graph?at=${ago(20)}&show=idle&as=table`);
  const rows = it.page.locator("section tbody tr");
  await rows.first().waitFor();
  const text = (await rows.allInnerTexts()).join("\n");
  assert.match(text, /report[\s\S]*Scaled to zero/);
  assert.match(text, /audit[\s\S]*Never seen/);
});

test("the keyboard alone: into the graph, along an edge, into the panel and out again", async () => {
  await open(`/console/graph?at=${ago(20)}`);
  await it.page.locator(".graph-host").focus();
  const selected = () => it.page.evaluate(() => new URLSearchParams(location.search).get("sel"));
  await it.page.keyboard.press("ArrowRight");
  assert.match(await selected(), /ingress/);
  await it.page.keyboard.press("ArrowRight");
  assert.match(await selected(), /web-service/);
  await it.page.keyboard.press("ArrowRight");
  assert.match(await selected(), /blog-system_web$/);
  await it.page.keyboard.press("ArrowLeft");
  assert.match(await selected(), /web-service/);
  await it.page.keyboard.press("Enter");
  assert.equal(await it.page.evaluate(() => document.activeElement.id), "panel");
  await it.page.keyboard.press("Escape");
  assert.equal(await selected(), null);
});

test("the table says what the picture says, and is walked with the arrows", async () => {
  await it.page.goto(`${it.mock.url}/console/graph?at=${ago(10)}&as=table`);
  const row = it.page.locator("tbody tr").filter({ hasText: "was-service" }).filter({ hasText: "was v1" });
  await row.waitFor();
  assert.match(await row.innerText(), /HTTP[\s\S]*rps[\s\S]*22 %[\s\S]*100 %/);
  await it.page.locator("tbody tr").first().focus();
  await it.page.keyboard.press("ArrowDown");
  assert.equal(await it.page.evaluate(() => document.activeElement.dataset.row), "1");
  await it.page.keyboard.press("Enter");
  await it.page.locator("#panel .numbers").waitFor();
  // One step back is to nothing selected, not to the page before.
  const selected = () => new URL(it.page.url()).searchParams.get("sel");
  assert.ok(selected());
  await it.page.goBack();
  assert.equal(selected(), null);
  assert.match(it.page.url(), /\/console\/graph\?/);
});

test("without WebGL the same is drawn on a plain canvas", async () => {
  const g = await open(`/console/graph?at=${ago(20)}&renderer=2d`);
  assert.equal(g.renderer, "canvas2d");
  await it.page.waitForFunction(() => {
    const canvas = document.querySelector(".graph-host canvas");
    return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.some((v, i) => i % 4 === 3 && v > 200);
  });
});

test("replay: the errors come and go again, at the pace that was chosen, until it is paused", async () => {
  await open(`/console/graph?at=${ago(15)}&speed=60&replay=1800`);
  const failing = () => it.page.waitForFunction(() => window.__graph?.edges.some((e) => e.tone === "failure"));
  const at = () => it.page.evaluate(() => Number(new URLSearchParams(location.search).get("at")));
  await it.page.getByRole("button", { name: "Play the past" }).click();
  await failing();
  const seen = await at();
  assert.ok(seen >= ago(14) && seen < ago(8), String(seen));
  await it.page.getByRole("button", { name: "Pause" }).click();
  assert.equal(await it.page.evaluate(() => new URLSearchParams(location.search).has("play")), false);
  const paused = await at();
  await it.page.getByRole("button", { name: "Play the past" }).waitFor();
  assert.equal(await at(), paused);
});

test("a replay ends where it was to end, and a link to one plays", async () => {
  await open(`/console/graph?at=${ago(10)}&play=${ago(9)}&speed=30`);
  await it.page.waitForURL((url) => url.searchParams.get("at") === String(ago(9)) && !url.searchParams.has("play"));
  await it.page.getByRole("button", { name: "Play the past" }).waitFor();
});

test("a node stays where it is dragged, after a reload too, until it is pressed twice", async () => {
  let g = await open(`/console/graph?at=${ago(20)}`);
  const box = await it.page.locator(".graph-host").boundingBox();
  const before_ = node(g, "was");
  const grab = async (n) => it.page.mouse.move(box.x + n.x, box.y + n.y);
  await grab(before_);
  await it.page.mouse.down();
  await it.page.mouse.move(box.x + before_.x + 30, box.y + before_.y + 90, { steps: 4 });
  await it.page.mouse.up();
  const pinned = () => it.page.waitForFunction((key) => window.__graph?.nodes.find((n) => n.key === key)?.pinned, before_.key);
  await pinned();
  g = await graph(it.page);
  const moved = node(g, "was");
  assert.ok(Math.abs(moved.worldY - before_.worldY - 90 / g.zoom) < 3, `${before_.worldY} ${moved.worldY}`);
  assert.equal(await it.page.evaluate(() => new URLSearchParams(location.search).get("sel")), null, "a drag selects nothing");
  await it.page.reload();
  await pinned();
  g = await graph(it.page);
  assert.ok(Math.abs(node(g, "was").worldY - moved.worldY) < 2);
  const here = node(g, "was");
  await it.page.mouse.dblclick(box.x + here.x, box.y + here.y);
  await it.page.waitForFunction((key) => window.__graph?.nodes.find((n) => n.key === key)?.pinned === false, before_.key);
  await it.page.locator(".graph-host").focus();
  await it.page.keyboard.press("Alt+ArrowDown");
  await pinned();
  await it.page.getByRole("button", { name: "Unpin 1" }).click();
  await it.page.waitForFunction((key) => window.__graph?.nodes.find((n) => n.key === key)?.pinned === false, before_.key);
});

test("versions of an app stand in one box", async () => {
  const g = await open(`/console/graph?at=${ago(2)}`);
  assert.deepEqual(g.apps, ["web"]);
  assert.ok(g.boxes.includes("blog-system"));
});

test("where errors begin the time line says what was changed before", async () => {
  await open(`/console/graph?at=${ago(2)}`);
  await it.page.getByRole("button", { name: /^Errors began at/ }).click();
  const report = it.page.getByRole("dialog").filter({ hasText: "What changed before" });
  assert.match(await report.innerText(), /fail[\s\S]*DestinationRule was-dest-rule[\s\S]*http1MaxPendingRequests 100 -> 1 · jimin/);
  await report.getByRole("button", { name: "Graph of that moment" }).click();
  await it.page.waitForFunction(() => window.__graph?.edges.some((e) => e.tone === "failure"));
});

test("traffic: which rates the graph is drawn from is chosen, kept in the address, and asked of the server", async () => {
  const g = await open(`/console/graph?at=${ago(20)}&type=workload&show=-services`);
  const requests = edge(g, "was", "notify", ["circle", "circle"]).rate;
  assert.ok(edge(g, "was", "mysql", ["circle", "circle"]));
  await it.page.getByRole("button", { name: "Traffic" }).click();
  const choose = (group, name) => it.page.getByRole("group", { name: group }).getByLabel(name);
  await choose("gRPC", "All messages").check();
  await choose("TCP", "Not shown").check();
  await it.page.waitForURL(/rates=http-requests,grpc-total/);
  await it.page.waitForFunction((was) => { const g = window.__graph; const notify = g.nodes.find((n) => n.name === "notify"); return !g.nodes.some((n) => n.name === "mysql") && g.edges.find((e) => e.target === notify.key)?.rate > was * 3.5; }, requests);
  await it.page.keyboard.press("Escape");
  await it.page.getByRole("button", { name: "Table", exact: true }).click();
  await it.page.getByRole("row").filter({ hasText: "GRPC" }).getByText("msg/s").waitFor();
  await it.page.reload();
  await it.page.getByRole("row").filter({ hasText: "GRPC" }).getByText("msg/s").waitFor();
  assert.equal(await it.page.getByRole("row").filter({ hasText: "TCP" }).count(), 0);
});

test("where there are several clusters each has a box, which can be left out", async () => {
  const other = await browse({ reducedMotion: "reduce", scenario: "clusters" });
  await other.page.goto(`${other.mock.url}/console/graph`);
  const g = await graph(other.page);
  assert.deepEqual([g.clusters.sort(), g.boxes.sort()], [["local", "west"], ["blog-system", "ingress-nginx", "platform"]]);
  await other.page.getByRole("button", { name: "Display" }).click();
  await other.page.getByLabel("Cluster boxes").uncheck();
  await other.page.waitForURL(/show=-clusters/);
  await other.page.waitForFunction(() => window.__graph.clusters.length === 0 && window.__graph.boxes.length === 3);
  await other.close();
  await open("/console/graph");
  await it.page.getByRole("button", { name: "Display" }).click();
  assert.equal(await it.page.getByLabel("Cluster boxes").count(), 0, "one cluster needs none");
});
