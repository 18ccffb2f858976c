import assert from "node:assert/strict";
import { test } from "node:test";
import { questionOf, serviceOf, tracedAs } from "../../src/panel/question.ts";
import { headersOf, splitWorkload } from "../../src/state/request.ts";
import { edge, model, node } from "./fixtures.ts";

const service = (name: string) => node(`svc_${name}`, { kind: "service", service: name, workload: "", app: "" });
const through = model([node("web"), node("test"), service("was"), node("was")], [edge("web", "svc_was", { rate: 9 }), edge("test", "svc_was", { rate: 1 }), edge("svc_was", "was", { rate: 10 })]);

test("an edge from a service is asked about as its greatest caller would ask", () => {
  const [, , second] = [...through.edges.values()];
  assert.deepEqual(questionOf(second, through), { from: "ns/web", to: "was.ns", port: "", method: "GET", path: "/" });
});

test("an example gives method and path, what was not matched gives what was dialled and what was asked for there", () => {
  const e = { ...edge("web", "svc_was"), examples: [{ at: 0, method: "POST", path: "/a", code: "503", flags: "", duration: 1, traceId: null }] };
  assert.deepEqual(questionOf(e, through), { from: "ns/web", to: "was.ns", port: "", method: "POST", path: "/a" });
  const lost = { ...e, unmatched: [{ host: "shop.example.com", address: "10.0.0.1", port: 8080, rate: 1, reason: { code: "notRegistered" as const }, meant: null, arrived: null, message: "", yaml: null }] };
  assert.deepEqual(questionOf(lost, through), { from: "ns/web", to: "10.0.0.1", port: "8080", method: "POST", path: "/a", headers: "host: shop.example.com" });
  // The default metrics tell no address.
  const nameless = { ...lost, unmatched: [{ ...lost.unmatched[0], address: "", port: null }] };
  assert.deepEqual([questionOf(nameless, through)?.to, questionOf(nameless, through)?.headers], ["shop.example.com", undefined]);
});

test("nobody known has called: nothing is asked", () => {
  const m = model([node("u", { kind: "unknown" }), service("was")], [edge("u", "svc_was")]);
  assert.equal(questionOf([...m.edges.values()][0], m), null);
});

test("the service of an edge, of a node, of a workload behind one", () => {
  const was = { namespace: "ns", name: "was" };
  assert.deepEqual(["web>svc_was>http", "svc_was>was>http", "svc_was", "was"].map((key) => serviceOf(key, through)), [was, was, was, was]);
  assert.equal(serviceOf("web", through), null);
});

test("spans are of an app, as proxies call themselves", () => {
  assert.equal(tracedAs({ app: "reviews", workload: "reviews-v2", namespace: "shop" }), "reviews.shop");
  assert.equal(tracedAs({ app: "", workload: "job", namespace: "shop" }), "job.shop");
});

test("headers one a line, names small; a workload without a namespace is of default", () => {
  assert.deepEqual(headersOf("X-Canary: true\nnonsense\n:authority: a:1\n : x"), { "x-canary": "true", ":authority": "a:1" });
  assert.deepEqual(splitWorkload("a/b"), { namespace: "a", workload: "b" });
  assert.deepEqual(splitWorkload(" web "), { namespace: "default", workload: "web" });
});
