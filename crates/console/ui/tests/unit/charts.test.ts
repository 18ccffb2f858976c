import assert from "node:assert/strict";
import { test } from "node:test";
import { rateQueries } from "../../src/api/prometheus.ts";
import { edgeTone, nodeTone, totals } from "../../src/graph/model.ts";
import { flagText } from "../../src/state/flags.ts";
import { isBad } from "../../src/state/format.ts";
import { edge, model, node } from "./fixtures.ts";

test("a request that its server never saw is counted: the larger of both sides' numbers is asked for", () => {
  const [total, errors] = rateQueries('destination_workload="web"', "1m");
  assert.equal(total.query, 'max(sum(rate(istio_requests_total{destination_workload="web"}[1m])) by (reporter))');
  assert.equal(errors.query, 'max(sum(rate(istio_requests_total{destination_workload="web",response_code=~"0|4..|5.."}[1m])) by (reporter))');
  assert.equal(rateQueries("", "60s", "5..")[1].query, 'max(sum(rate(istio_requests_total{response_code=~"5.."}[60s])) by (reporter))');
});

test("a request through a service node counts once, with how it went", () => {
  const service = node("svc_was", { kind: "service", service: "was", workload: "", app: "" });
  const lost = node("svc_lost", { kind: "service", service: "PassthroughCluster", egress: "PassthroughCluster", workload: "", app: "" });
  const m = model([node("web"), service, node("was"), lost, node("db")], [
    edge("web", "svc_was", { rate: 4, errors: 1, mtls: 1 }), edge("svc_was", "was", { rate: 4, errors: 1, mtls: 1 }), edge("web", "svc_lost", { rate: 2 }), edge("was", "db", { rate: 900, protocol: "tcp" }),
  ]);
  assert.deepEqual(totals(m), { all: 6, bad: 1, secured: 4 });
});

test("a refused connection moves nothing and is shown, a hole that nobody falls into is not", () => {
  const hole = node("hole", { kind: "service", service: "BlackHoleCluster", egress: "BlackHoleCluster", workload: "", app: "" });
  const refused = { ...edge("web", "hole", { rate: 0, protocol: "tcp" }), unmatched: [{ host: "", address: "10.0.0.1", port: 8080, rate: 0, reason: { code: "nothingKnown" as const }, meant: null, arrived: null, message: "", yaml: null }] };
  assert.equal(edgeTone(refused), "degraded");
  assert.equal(edgeTone({ ...refused, unmatched: [] }), "idle");
  assert.equal(nodeTone(hole), "failure");
});

test("what was answered well is not called bad", () => {
  for (const code of ["200", "204", "302"]) assert.equal(isBad(code), false, code);
  for (const code of ["0", "-", "404", "502", "14"]) assert.equal(isBad(code), true, code);
});

test("flags are told in words, and what is not known by its letters", () => {
  assert.equal(flagText("UC"), "UC: the upstream closed the connection");
  assert.equal(flagText("UF,URX"), "UF: upstream connection failure\nURX: upstream retry limit exceeded");
  assert.equal(flagText("XYZ"), "XYZ");
});
