// What a change does to requests, in words.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { EffectGroup, Met } from "../../src/api/types.ts";
import { codesOf, destination, ends, sentence } from "../../src/editor/effect.tsx";

const met = (more: Partial<Met>): Met => ({ outcome: "ok", status: null, cluster: "outbound|80||web.blog.svc.cluster.local", workload: "blog/web", verdict: "", ...more });
const group = (more: Partial<EffectGroup>): EffectGroup => ({
  kind: "rerouted", from: { namespace: "blog", workload: "edge" }, to: "web.blog.svc.cluster.local", requests: 600, share: 1, before: met({}), after: met({}),
  changes: [], because: "", by: null, codes: { "200": 590, "404": 10 }, examples: [], ...more,
});

test("clusters are told by service and subset", () => {
  assert.equal(destination("outbound|8080|canary|was.blog.svc.cluster.local"), "was.blog (canary)");
  assert.equal(destination("outbound|443||api.example.com"), "api.example.com");
  assert.equal(destination("PassthroughCluster"), "PassthroughCluster");
});

test("both ends of what moves are told so that they differ", () => {
  const canary = met({ cluster: "outbound|80|canary|web.blog.svc.cluster.local", workload: "blog/web-canary" });
  assert.deepEqual(ends(group({ after: canary })), ["web.blog", "web.blog (canary)"]);
  assert.deepEqual(ends(group({ after: met({ workload: "blog/web-canary" }) })), ["blog/web", "blog/web-canary"]);
  assert.deepEqual(ends(group({ after: met({ cluster: "", workload: "", status: 301 }) })), ["web.blog", "301"]);
});

test("a sentence says how many, what becomes of them, and what came back", () => {
  assert.equal(sentence(group({ kind: "denied", after: met({ outcome: "denied", status: 403 }) })), "600 would be refused with 403; they were answered 200, 404.");
  assert.equal(sentence(group({ kind: "unknown", because: "header x-canary" })), "of 600 it is not known. It hangs on what is not recorded: header x-canary.");
  assert.equal(codesOf(group({ codes: { "0": 3, "200": 1 } })), "–, 200");
});
