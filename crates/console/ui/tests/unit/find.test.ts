import assert from "node:assert/strict";
import { test } from "node:test";
import { contextOf, FindError, matchesEdge, matchesNode, parse } from "../../src/graph/find.ts";
import { ranks } from "../../src/graph/model.ts";
import { edge, model, node } from "./fixtures.ts";

const web = node("web", { app: "web", version: "v1", namespace: "blog", labels: { tier: "front" }, services: [{ cluster: "c", namespace: "blog", name: "web-service" }] });
const was = node("was", { app: "was", namespace: "blog", outOfMesh: false, badges: { circuitBreaker: true } });
const mysql = node("mysql", { app: "mysql", namespace: "data", outOfMesh: true });
web.traffic.http.incoming.total = 40;
const slow = edge("web", "was", { rate: 10, errors: 1, mtls: 1, time: 800 });
const plain = edge("was", "mysql", { rate: 100, protocol: "tcp" });
const m = model([web, was, mysql], [slow, plain]);
const context = contextOf(m.nodes, ranks(m));
const nodes = (text: string): string[] => { const e = parse(text)!; return [...m.nodes.values()].filter((n) => matchesNode(e, n, context)).map((n) => n.key); };
const edges = (text: string): string[] => { const e = parse(text)!; return [...m.edges].filter(([, x]) => matchesEdge(e, x, context)).map(([id]) => id); };
const SLOW = "web>was>http";
const PLAIN = "was>mysql>tcp";

test("names, aliases and comparisons", () => {
  assert.deepEqual(nodes("app = web"), ["web"]);
  assert.deepEqual(nodes("ns = blog"), ["web", "was"]);
  assert.deepEqual(nodes("ns != blog"), ["mysql"]);
  assert.deepEqual(nodes("name contains w"), ["web", "was"]);
  assert.deepEqual(nodes("name *= ysq"), ["mysql"]);
  assert.deepEqual(nodes("name ^= w"), ["web", "was"]);
  assert.deepEqual(nodes("name $= s"), ["was"]);
  assert.deepEqual(nodes("svc = web-service"), ["web"]);
  assert.deepEqual(nodes("label:tier = front"), ["web"]);
  assert.deepEqual(nodes("node = workload"), ["web", "was", "mysql"]);
  assert.deepEqual(nodes("httpin > 39"), ["web"]);
  assert.deepEqual(nodes("httpin = NaN"), ["was", "mysql"]);
  assert.deepEqual(nodes('app = "web"'), ["web"]);
});

test("each comparison can be negated, by ! or by not", () => {
  assert.deepEqual(nodes("name !contains w"), ["mysql"]);
  assert.deepEqual(nodes("name not contains w"), ["mysql"]);
  assert.deepEqual(nodes("name !*= w"), ["mysql"]);
  assert.deepEqual(nodes("name !^= w"), ["mysql"]);
  assert.deepEqual(nodes("name != web"), ["was", "mysql"]);
  assert.deepEqual(nodes("not app = web"), ["was", "mysql"]);
});

test("flags, with is and has", () => {
  assert.deepEqual(nodes("outofmesh"), ["mysql"]);
  assert.deepEqual(nodes("is outofmesh"), ["mysql"]);
  assert.deepEqual(nodes("! om"), ["web", "was"]);
  assert.deepEqual(nodes("has cb"), ["was"]);
});

test("edges", () => {
  assert.deepEqual(edges("rt > 500"), [SLOW]);
  assert.deepEqual(edges("mtls"), [SLOW]);
  assert.deepEqual(edges("! mtls"), [PLAIN]);
  assert.deepEqual(edges("protocol = tcp"), [PLAIN]);
  assert.deepEqual(edges("%httperr >= 10"), [SLOW]);
  assert.deepEqual(edges("http < 1k"), [SLOW]);
});

test("an operand of edges says nothing of nodes, not even when it is negated", () => {
  assert.deepEqual(nodes("! mtls"), []);
  assert.deepEqual(edges("! healthy"), []);
  assert.deepEqual(nodes("! (rt > 500)"), []);
});

test("OR binds tighter than AND", () => {
  // Read as ns = data AND (app = web OR app = mysql).
  assert.deepEqual(nodes("ns = data and app = web or app = mysql"), ["mysql"]);
  assert.deepEqual(nodes("app = web or app = was and ns = blog"), ["web", "was"]);
  assert.deepEqual(nodes("app = web or app = mysql and ns = data"), ["mysql"]);
});

test("parentheses say otherwise", () => {
  assert.deepEqual(nodes("app = web or (app = mysql and ns = data)"), ["web", "mysql"]);
  assert.deepEqual(nodes("!(app = web or app = was)"), ["mysql"]);
  assert.deepEqual(nodes("((app = web))"), ["web"]);
});

test("OR may join nodes and edges, AND may not", () => {
  const text = "outofmesh or rt > 500";
  assert.deepEqual(nodes(text), ["mysql"]);
  assert.deepEqual(edges(text), [SLOW]);
  assert.throws(() => parse("outofmesh and rt > 500"), (e: FindError) => e.code === "mixed");
  assert.throws(() => parse("app = web or (outofmesh and mtls)"), (e: FindError) => e.code === "mixed");
});

test("what is wrong, and where", () => {
  const wrong = (text: string): [string, number] => { try { parse(text); } catch (e) { return [(e as FindError).code, (e as FindError).at]; } return ["", -1]; };
  assert.deepEqual(wrong("colour = red"), ["operand", 0]);
  assert.deepEqual(wrong("app ="), ["value", 5]);
  assert.deepEqual(wrong("app"), ["operator", 3]);
  assert.deepEqual(wrong("rt > fast"), ["number", 5]);
  assert.deepEqual(wrong("(app = web"), ["parenthesis", 0]);
  assert.deepEqual(wrong("app = web)"), ["parenthesis", 9]);
  assert.deepEqual(wrong("app = web and"), ["end", 13]);
  assert.deepEqual(wrong('app = "web'), ["end", 6]);
  assert.equal(parse("  "), null);
});

test("rank by number of edges", () => {
  assert.deepEqual(nodes("rank = 1"), ["was"]);
  assert.deepEqual(nodes("rank <= 2"), ["web", "was", "mysql"]);
});
