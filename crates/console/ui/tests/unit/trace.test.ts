import assert from "node:assert/strict";
import { test } from "node:test";
import type { Span, Trace } from "../../src/api/jaeger.ts";
import { edgesOf } from "../../src/trace/overlay.ts";
import { edge, model, node } from "./fixtures.ts";
import { askedOf, compare, criticalPath, hops, tree } from "../../src/trace/model.ts";

const span = (id: string, parent: string | null, start: number, duration: number, more: Partial<Span> = {}): Span => ({
  traceID: "t", spanID: id, operationName: id, startTime: start, duration, processID: "p", tags: [], logs: [], warnings: null,
  references: parent ? [{ refType: "CHILD_OF", traceID: "t", spanID: parent }] : [], ...more,
});
const trace = (...spans: Span[]): Trace => ({ traceID: "t", spans, processes: { p: { serviceName: "svc", tags: [] } } });
const path = (t: Trace): [string, number, number][] => criticalPath(tree(t)).map((p) => [p.row.span.spanID, p.from, p.to]);

test("a tree, in the order of time, whatever the order of the spans", () => {
  const t = tree(trace(span("c", "a", 50, 10), span("b", "a", 10, 20), span("a", null, 0, 100), span("d", "b", 12, 5)));
  assert.deepEqual(t.rows.map((r) => [r.span.spanID, r.depth]), [["a", 0], ["b", 1], ["d", 2], ["c", 1]]);
  assert.equal(t.duration, 100);
});

test("a parent that is missing, and spans that call each other their parent, are all drawn", () => {
  assert.equal(tree(trace(span("b", "gone", 0, 5))).rows.length, 1);
  assert.equal(tree(trace(span("a", "b", 0, 5), span("b", "a", 1, 3))).rows.length, 2);
  assert.equal(tree(trace(span("a", "a", 0, 5))).rows.length, 1);
});

test("a span says what was asked for, and what was answered", () => {
  const tags = (all: Record<string, string>) => Object.entries(all).map(([key, value]) => ({ key, type: "string" as const, value }));
  const failed = span("a", null, 0, 9, { tags: tags({ "http.method": "GET", "http.url": "https://blog.example/api/posts?page=2", "http.status_code": "502", response_flags: "UC" }) });
  assert.deepEqual(askedOf(failed), { method: "GET", path: "/api/posts?page=2", code: "502", flags: "UC" });
  assert.deepEqual(askedOf(span("b", null, 0, 9, { tags: tags({ "http.method": "POST", "http.url": "http://was:8080", "http.status_code": "0", response_flags: "-" }) })), { method: "POST", path: "/", code: "–", flags: "" });
  assert.deepEqual(askedOf(span("c", null, 0, 9, { tags: tags({ "http.method": "POST", "http.url": "http://a/pkg.S/M", "http.status_code": "200", "grpc.status_code": "0" }) }))?.code, "0");
  assert.equal(askedOf(span("d", null, 0, 9, { tags: tags({ "db.system": "mysql" }) })), null);
  // Of several calls of a hop the one that failed.
  const good = { tags: tags({ "http.method": "GET", "http.url": "http://x/", "http.status_code": "200" }) };
  const [hop] = hops(tree(trace(span("root", null, 0, 90, good), span("call", "root", 1, 9, { operationName: "call", ...good }), span("again", "root", 20, 9, { ...failed, spanID: "again", operationName: "call", references: [{ refType: "CHILD_OF", traceID: "t", spanID: "root" }] })))).filter((h) => h.operation === "call");
  assert.deepEqual([hop.calls, hop.errors, hop.asked?.code], [2, 1, "502"]);
});

test("own time is what no child covers, overlaps counted once", () => {
  const t = tree(trace(span("a", null, 0, 100), span("b", "a", 10, 40), span("c", "a", 30, 40), span("d", "a", 95, 50)));
  assert.equal(t.rows[0].own, 100 - 60 - 5);
});

test("the critical path of calls one after another", () => {
  assert.deepEqual(path(trace(span("a", null, 0, 100), span("b", "a", 10, 20), span("c", "a", 50, 30))), [["a", 0, 10], ["b", 10, 30], ["a", 30, 50], ["c", 50, 80], ["a", 80, 100]]);
});

test("the critical path of calls at the same time is the one that ended last", () => {
  assert.deepEqual(path(trace(span("a", null, 0, 100), span("fast", "a", 10, 30), span("slow", "a", 10, 80))), [["a", 0, 10], ["slow", 10, 90], ["a", 90, 100]]);
});

test("a child that outlives its parent counts as far as the parent lasts", () => {
  assert.deepEqual(path(trace(span("a", null, 0, 50), span("b", "a", 40, 60))), [["a", 0, 40], ["b", 40, 50]]);
});

test("hops: the shares of the critical path sum to the whole", () => {
  const t = tree(trace(span("a", null, 0, 100), span("b", "a", 10, 80, { tags: [{ key: "error", type: "bool", value: true }] })));
  const list = hops(t);
  assert.equal(list.reduce((s, h) => s + h.critical, 0), 100);
  assert.deepEqual([list[0].operation, list[0].own, list[0].errors], ["b", 80, 1]);
});

test("two traces: the largest difference first, calls that only one has", () => {
  const a = tree(trace(span("a", null, 0, 100), span("db", "a", 10, 20)));
  const b = tree(trace(span("a", null, 0, 1000), span("db", "a", 10, 900), span("new", "a", 920, 5)));
  const list = compare(a, b);
  assert.equal(list[0].operation, "db");
  assert.equal(list[0].delta, 880);
  assert.equal(list.find((d) => d.operation === "new")!.a, null);
});

test("the way of a trace through the graph, also through the service between", () => {
  const t: Trace = {
    traceID: "t", processes: { p: { serviceName: "web.ns", tags: [] }, q: { serviceName: "was.ns", tags: [] } },
    spans: [span("a", null, 0, 100), span("b", "a", 10, 80, { processID: "q" })],
  };
  const m = model([node("web"), node("was"), node("svc", { kind: "service", workload: "", app: "", service: "was-service" }), node("other")], [edge("web", "svc"), edge("svc", "was"), edge("web", "was", { protocol: "grpc" }), edge("web", "other"), edge("other", "was")]);
  assert.deepEqual([...edgesOf(tree(t), m)].sort(), ["svc>was>http", "web>svc>http", "web>was>grpc"]);
});
