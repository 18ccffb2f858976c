import assert from "node:assert/strict";
import { test } from "node:test";
import { aggregate, LIMIT } from "../../src/graph/aggregate.ts";
import { hit } from "../../src/graph/hit.ts";
import { applyPatch, edgeTone, fromGraph, nodeTone } from "../../src/graph/model.ts";
import { buildScene, dotsOf, pointAt } from "../../src/graph/scene.ts";
import { fit, toScreen, toWorld, zoomAt } from "../../src/graph/camera.ts";
import { edge, model, node } from "./fixtures.ts";

const marks = { selected: null, foundNodes: null, foundEdges: null, trace: null };

test("colours: green is healthy mTLS, black is plain, orange and red are errors, blue is TCP over mTLS, grey is idle", () => {
  assert.equal(edgeTone(edge("a", "b", { mtls: 1 })), "mtls");
  assert.equal(edgeTone(edge("a", "b")), "plain");
  assert.equal(edgeTone(edge("a", "b", { protocol: "tcp" })), "plain");
  assert.equal(edgeTone(edge("a", "b", { protocol: "tcp", mtls: 1 })), "tcp");
  assert.equal(edgeTone(edge("a", "b", { mtls: 1, status: "Degraded" })), "degraded");
  assert.equal(edgeTone(edge("a", "b", { mtls: 1, status: "Failure" })), "failure");
  assert.equal(edgeTone(edge("a", "b", { rate: 0, mtls: 1 })), "idle");
});

test("colours of nodes", () => {
  const busy = (more = {}): ReturnType<typeof node> => { const n = node("a", more); n.traffic.http.incoming.total = 1; return n; };
  assert.equal(nodeTone(busy()), "mtls");
  assert.equal(nodeTone(busy({ outOfMesh: true })), "plain");
  assert.equal(nodeTone(busy({ egress: "PassthroughCluster" })), "degraded");
  assert.equal(nodeTone(busy({ egress: "BlackHoleCluster" })), "failure");
  assert.equal(nodeTone(node("a")), "idle");
  assert.equal(nodeTone(busy({ health: { status: "Failure", verdict: { status: "Healthy", notEnoughData: false, reason: null } } })), "failure");
});

test("a patch changes what it names, and takes edges along whose ends are gone", () => {
  const m = model([node("a"), node("b"), node("c")], [edge("a", "b"), edge("b", "c")]);
  const next = applyPatch(m, { whole: false, timestamp: 5, duration: 60, nodes: [node("d")], edges: [edge("a", "d"), edge("a", "b", { rate: 9 })], goneNodes: ["c"], goneEdges: [] });
  assert.deepEqual([...next.nodes.keys()], ["a", "b", "d"]);
  assert.deepEqual([...next.edges.keys()].sort(), ["a>b>http", "a>d>http"]);
  assert.equal(next.edges.get("a>b>http")!.rates.total, 9);
  assert.equal(m.edges.get("a>b>http")!.rates.total, 1, "the old one is as it was");
  const whole = applyPatch(next, { whole: true, timestamp: 6, duration: 60, nodes: [node("x")], edges: [], goneNodes: [], goneEdges: [] });
  assert.deepEqual([...whole.nodes.keys()], ["x"]);
});

test("a graph's edges lead to places in its list", () => {
  const m = fromGraph({ graphType: "workload", timestamp: 1, duration: 60, nodes: [node("a"), node("b")], edges: [{ ...edge("", ""), source: 0, target: 1 }, { ...edge("", ""), source: 0, target: 9 }], leftOut: { contradictory: 0, unusable: 0, reportedTwice: 0 } });
  assert.deepEqual([...m.edges.keys()], ["a>b>http"]);
});

test("a large mesh is shown by its namespaces; sums are kept; an opened one shows its nodes", () => {
  const nodes = Array.from({ length: LIMIT + 50 }, (_, i) => node(`n${i}`, { namespace: `g${i % 5}` }));
  const edges = nodes.slice(1).map((n, i) => edge(nodes[i].key, n.key, { rate: 2, errors: i === 0 ? 1 : 0, status: i === 0 ? "Failure" : "Healthy" }));
  const m = model(nodes, edges);
  const closed = aggregate(m, new Set(), false);
  assert.equal(closed.nodes.size, 5);
  const across = edges.filter((e) => m.nodes.get(e.source)!.namespace !== m.nodes.get(e.target)!.namespace);
  const sum = (list: Iterable<{ rates: { total: number } }>): number => [...list].reduce((s, e) => s + e.rates.total, 0);
  assert.equal(sum(closed.edges.values()), sum(across));
  assert.equal(edgeTone(closed.edges.get("ns:g0>ns:g1>http")!), "failure", "the worst one is not hidden");
  const open = aggregate(m, new Set(["g2"]), false);
  assert.equal(open.nodes.size, 4 + nodes.filter((n) => n.namespace === "g2").length);
  assert.equal(aggregate(m, new Set(), true), m);
  const small = model(nodes.slice(0, 3), []);
  assert.equal(aggregate(small, new Set(), false), small);
});

test("what is under the pointer: nodes before edges, and nothing where nothing is", () => {
  const m = model([node("a"), node("b")], [edge("a", "b")]);
  const scene = buildScene(m, new Map([["a", { x: 0, y: 0 }], ["b", { x: 200, y: 0 }]]), new Map(), marks);
  assert.deepEqual(hit(scene, 2, 3, 1), { kind: "node", key: "a" });
  assert.deepEqual(hit(scene, 100, 2, 1), { kind: "edge", id: "a>b>http" });
  assert.equal(hit(scene, 100, 60, 1), null);
  const end = pointAt(scene.edges[0].curve, 1);
  assert.ok(end.x < 200 && end.x > 170, "an edge ends at the rim");
});

test("a bent edge passes where it was told to", () => {
  const m = model([node("a"), node("b")], [edge("a", "b")]);
  const scene = buildScene(m, new Map([["a", { x: 0, y: 0 }], ["b", { x: 600, y: 0 }]]), new Map([["a>b>http", 80]]), marks);
  assert.ok(Math.abs(pointAt(scene.edges[0].curve, 0.5).y - 80) < 1);
});

test("dots: more of them for more requests, red ones for failed ones, none without traffic", () => {
  const dots = (e: ReturnType<typeof edge>): ReturnType<typeof dotsOf> => dotsOf(buildScene(model([node("a"), node("b")], [e]), new Map([["a", { x: 0, y: 0 }], ["b", { x: 200, y: 0 }]]), new Map(), marks));
  assert.equal(dots(edge("a", "b", { rate: 0 })).length, 0);
  assert.ok(dots(edge("a", "b", { rate: 100 })).length > dots(edge("a", "b", { rate: 1 })).length);
  assert.ok(dots(edge("a", "b", { rate: 100, errors: 1 })).some((d) => d.kind === 1));
  assert.ok(!dots(edge("a", "b", { rate: 100 })).some((d) => d.kind === 1));
});

test("the camera: there and back, zoom about a point, fit", () => {
  const c = { x: 10, y: 20, zoom: 0.5 };
  assert.deepEqual(toWorld(c, toScreen(c, { x: 7, y: 9 })), { x: 7, y: 9 });
  const at = { x: 100, y: 50 };
  const before = toWorld(c, at);
  const after = toWorld(zoomAt(c, at, 1.7), at);
  assert.ok(Math.hypot(before.x - after.x, before.y - after.y) < 1e-9);
  const f = fit({ left: 0, top: 0, right: 1000, bottom: 500 }, 600, 600);
  assert.ok(toScreen(f, { x: 0, y: 0 }).x >= 0 && toScreen(f, { x: 1000, y: 0 }).x <= 600);
});

test("clusters have boxes where there are several, and a namespace of two has one in each", () => {
  const two = model([node("a", { cluster: "east" }), node("b", { cluster: "west" }), node("c", { cluster: "west", namespace: "other" }), node("u", { cluster: "unknown", kind: "unknown", namespace: "unknown" })], [edge("a", "b"), edge("u", "a")]);
  const points = new Map([["a", { x: 0, y: 0 }], ["b", { x: 0, y: 600 }], ["c", { x: 0, y: 900 }], ["u", { x: -400, y: 0 }]]);
  const boxes = buildScene(two, points, new Map(), marks).boxes;
  assert.deepEqual(boxes.map((b) => `${b.kind} ${b.name}`), ["cluster east", "cluster west", "namespace ns", "namespace ns", "namespace other"]);
  const [east, west] = boxes;
  assert.ok(east.bottom < west.top);
  for (const b of boxes.slice(3)) assert.ok(west.left < b.left && west.right > b.right && west.top < b.top && west.bottom > b.bottom, b.name);
  const one = model([node("a"), node("b")], [edge("a", "b")]);
  assert.deepEqual(buildScene(one, points, new Map(), marks).boxes.map((b) => b.kind), ["namespace"]);
});
