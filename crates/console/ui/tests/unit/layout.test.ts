import assert from "node:assert/strict";
import { test } from "node:test";
import { layout, type LayoutInput, monotone, spacing } from "../../src/graph/layout.ts";
import type { GraphModel } from "../../src/graph/model.ts";
import { buildScene } from "../../src/graph/scene.ts";
import { model, node } from "./fixtures.ts";
import { type Memory, place } from "../../src/graph/stable.ts";

const chain = (...keys: string[]): [string, string][] => keys.slice(1).map((k, i) => [keys[i], k]);
const input = (nodes: Record<string, string>, edges: [string, string][]): LayoutInput => ({ nodes: Object.entries(nodes).map(([key, group]) => ({ key, group })), edges });
const blog = input({ ingress: "edge", web: "blog", was: "blog", mysql: "blog" }, chain("ingress", "web", "was", "mysql"));

test("a chain is a straight line from left to right", () => {
  const { nodes } = layout(blog);
  const xs = ["ingress", "web", "was", "mysql"].map((k) => nodes[k].x);
  assert.deepEqual([...xs].sort((a, b) => a - b), xs);
  assert.equal(new Set(xs).size, 4);
  for (const k of ["web", "was", "mysql"]) assert.ok(Math.abs(nodes[k].y - nodes.ingress.y) < 0.01, k);
});

test("the same graph gives the same picture", () => {
  assert.deepEqual(layout(blog), layout(blog));
});

test("no two nodes stand in one place, and boxes of namespaces do not overlap", () => {
  const nodes: Record<string, string> = {};
  const edges: [string, string][] = [];
  for (let i = 0; i < 60; i++) { nodes[`n${i}`] = `g${i % 5}`; if (i > 2) edges.push([`n${Math.floor(i / 3)}`, `n${i}`]); }
  const l = layout(input(nodes, edges));
  const points = Object.values(l.nodes);
  for (let i = 0; i < points.length; i++) for (let j = 0; j < i; j++) {
    assert.ok(Math.abs(points[i].x - points[j].x) >= spacing.x * 0.9 || Math.abs(points[i].y - points[j].y) >= spacing.y * 0.45, `${i} on ${j}`);
  }
  for (const a of l.boxes) for (const b of l.boxes) {
    if (a === b) continue;
    assert.ok(a.x + a.width <= b.x + 0.01 || b.x + b.width <= a.x + 0.01 || a.y + a.height <= b.y + 0.01 || b.y + b.height <= a.y + 0.01, `${a.group} over ${b.group}`);
  }
});

test("cycles and self-calls are laid out", () => {
  const { nodes } = layout(input({ a: "g", b: "g", c: "g" }, [["a", "b"], ["b", "c"], ["c", "a"], ["b", "b"]]));
  assert.ok(Object.values(nodes).every((p) => Number.isFinite(p.x) && Number.isFinite(p.y)));
  assert.ok(nodes.a.x < nodes.b.x && nodes.b.x < nodes.c.x);
});

test("an edge over a rank makes room for itself", () => {
  const l = layout(input({ a: "g", b: "g", c: "g" }, [["a", "b"], ["b", "c"], ["a", "c"]]));
  const middle = (l.nodes.a.y + l.nodes.c.y) / 2 + l.bows[2];
  assert.ok(Math.abs(middle - l.nodes.b.y) > 20, `passes ${middle} at ${l.nodes.b.y}`);
});

test("nothing at all, and nodes without edges", () => {
  assert.deepEqual(layout({ nodes: [], edges: [] }).nodes, {});
  const { nodes } = layout(input({ a: "g", b: "g" }, []));
  assert.notDeepEqual(nodes.a, nodes.b);
});

test("two thousand nodes in forty namespaces: every one has a place, in a picture that is not a tower", () => {
  const nodes: Record<string, string> = {};
  const edges: [string, string][] = [];
  for (let i = 0; i < 2000; i++) { nodes[`n${i}`] = `g${Math.floor(i / 50)}`; if (i % 50 > 4) edges.push([`n${i - 1 - (i % 4)}`, `n${i}`]); }
  const l = layout(input(nodes, edges));
  assert.equal(Object.keys(l.nodes).length, 2000);
  const xs = Object.values(l.nodes).map((p) => p.x);
  const ys = Object.values(l.nodes).map((p) => p.y);
  const ratio = (Math.max(...xs) - Math.min(...xs)) / (Math.max(...ys) - Math.min(...ys));
  assert.ok(ratio > 0.8 && ratio < 4, String(ratio));
});

test("pool adjacent violators", () => {
  assert.deepEqual(monotone([1, 2, 3], [1, 1, 1]), [1, 2, 3]);
  assert.deepEqual(monotone([3, 1], [1, 1]), [2, 2]);
  assert.deepEqual(monotone([3, 1], [3, 1]), [2.5, 2.5]);
  assert.deepEqual(monotone([], []), []);
});

test("nodes keep their places when others come and go", () => {
  const memory: Memory = new Map();
  const groups = new Map([["ingress", "edge"], ["web", "blog"], ["was", "blog"], ["mysql", "blog"], ["cache", "blog"]]);
  const first = place(layout(blog), memory, groups);
  assert.equal(first.kept, false);
  const more = input({ ingress: "edge", web: "blog", was: "blog", mysql: "blog", cache: "blog" }, [...chain("ingress", "web", "was", "mysql"), ["was", "cache"]]);
  const second = place(layout(more), memory, groups);
  assert.equal(second.kept, true);
  for (const k of ["ingress", "web", "was", "mysql"]) assert.deepEqual(second.points.get(k), first.points.get(k), k);
  const cache = second.points.get("cache")!;
  assert.ok([...second.points].every(([k, p]) => k === "cache" || Math.abs(p.x - cache.x) > spacing.x * 0.4 || Math.abs(p.y - cache.y) > spacing.y * 0.7));
  // It goes, and comes back to where it was.
  place(layout(blog), memory, groups);
  assert.deepEqual(place(layout(more), memory, groups).points.get("cache"), cache);
});

test("another picture is laid out anew", () => {
  const memory: Memory = new Map();
  place(layout(blog), memory, new Map());
  const other = place(layout(input({ x: "g", y: "g", web: "g" }, [["x", "y"]])), memory, new Map());
  assert.equal(other.kept, false);
});

test("closed namespaces stand on a ring, and what is opened stands beside it with ranks of its own", () => {
  const nodes: Record<string, string> = { a: "team", b: "team", c: "team" };
  const edges: [string, string][] = [["a", "b"], ["b", "c"]];
  for (let i = 0; i < 20; i++) { nodes[`ns:${i}`] = ""; edges.push([`ns:${i}`, `ns:${(i * 7 + 1) % 20}`], [`ns:${i}`, "a"], ["c", `ns:${i}`]); }
  const l = layout(input(nodes, edges));
  const ring = Object.keys(nodes).filter((k) => k.startsWith("ns:")).map((k) => l.nodes[k]);
  assert.equal(new Set(ring.map((p) => `${Math.round(p.x)},${Math.round(p.y)}`)).size, 20);
  assert.ok(l.nodes.a.x < l.nodes.b.x && l.nodes.b.x < l.nodes.c.x);
  assert.equal(l.nodes.b.x - l.nodes.a.x, spacing.x);
  assert.ok(Math.max(...ring.map((p) => p.x)) < l.nodes.a.x);
});

test("versions of an app stand together, whoever stands between them by their calls", () => {
  const nodes = ["v1", "other", "v2", "x", "y"].map((key) => ({ key, group: "g", cluster: key.startsWith("v") ? "g/app" : "" }));
  const { nodes: at } = layout({ nodes, edges: [["x", "v1"], ["x", "other"], ["y", "other"], ["y", "v2"], ["x", "v2"]] });
  const column = ["v1", "other", "v2"].sort((a, b) => at[a].y - at[b].y);
  assert.equal(at.v1.x, at.v2.x);
  assert.ok(column[0] === "other" || column[2] === "other", column.join());
});

test("a box of an app is drawn around its versions, and not where something else stands among them", () => {
  const app = (key: string, name: string, version: string) => node(key, { kind: "app", app: name, version });
  const of = (points: [string, string, string, number, number][]): string[] => {
    const m: GraphModel = { ...model(points.map(([k, a, v]) => app(k, a, v)), []), graphType: "versionedApp" };
    return buildScene(m, new Map(points.map(([k, , , x, y]) => [k, { x, y }])), new Map(), { selected: null, foundNodes: null, foundEdges: null, trace: null }).boxes.filter((b) => b.kind === "app").map((b) => b.name);
  };
  assert.deepEqual(of([["a", "web", "v1", 0, 0], ["b", "web", "v2", 0, 112], ["c", "was", "v1", 174, 0]]), ["web"]);
  assert.deepEqual(of([["a", "web", "v1", 0, 0], ["b", "web", "v2", 0, 224], ["c", "was", "v1", 0, 112]]), []);
});

test("a node that was put somewhere stands there", () => {
  const scene = buildScene(model([node("a"), node("b")], []), new Map([["a", { x: 0, y: 0 }], ["b", { x: 1, y: 1 }]]), new Map(), { selected: null, foundNodes: null, foundEdges: null, trace: null }, new Map([["a", { x: 70, y: -5 }]]));
  assert.deepEqual(scene.nodes.map((n) => [n.key, n.x, n.y, n.pinned]), [["a", 70, -5, true], ["b", 1, 1, false]]);
});

test("what is of one cluster stands together, apart from another's and from what is of none", () => {
  for (const count of [2, 12]) {
    const nodes: LayoutInput["nodes"] = [{ key: "users", group: "~users" }];
    const edges: [string, string][] = [];
    for (const place of ["east", "west"]) for (let g = 0; g < count; g++) for (let i = 0; i < 4; i++) {
      nodes.push({ key: `${place}${g}${i}`, group: `${place}/ns${g}`, place });
      edges.push(i ? [`${place}${g}0`, `${place}${g}${i}`] : ["users", `${place}${g}0`]);
      if (place === "west") edges.push([`east${g}${i}`, `west${(g + 1) % count}${i}`]);
    }
    const l = layout({ nodes, edges });
    const around = (of: LayoutInput["nodes"]): { left: number; right: number; top: number; bottom: number } => {
      const boxes = l.boxes.filter((b) => of.some((n) => n.group === b.group));
      return { left: Math.min(...boxes.map((b) => b.x)), right: Math.max(...boxes.map((b) => b.x + b.width)), top: Math.min(...boxes.map((b) => b.y)), bottom: Math.max(...boxes.map((b) => b.y + b.height)) };
    };
    const all = [around(nodes.filter((n) => n.place === "east")), around(nodes.filter((n) => n.place === "west")), around(nodes.slice(0, 1))];
    for (const a of all) for (const b of all) if (a !== b) assert.ok(a.right <= b.left || b.right <= a.left || a.bottom <= b.top || b.bottom <= a.top, `${count}: ${JSON.stringify([a, b])}`);
    assert.equal(new Set(Object.values(l.nodes).map((p) => `${Math.round(p.x)} ${Math.round(p.y)}`)).size, nodes.length, "no two in one place");
  }
});
