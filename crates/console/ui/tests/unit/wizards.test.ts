import assert from "node:assert/strict";
import { test } from "node:test";
import { parse, parseAllDocuments } from "yaml";
import { authorization, faultInjection, mutualTls, timeouts, trafficShifting, weightNow } from "../../src/wizards/make.ts";
import { documents, type Plain, toYaml } from "../../src/wizards/yaml.ts";

const target = { namespace: "blog-system", service: "web-service", selector: { app: "web" } };

test("YAML that is written is read as what was meant", () => {
  const values: Plain[] = [
    { a: 1, b: "x", c: true, d: null, e: [1, "two", { three: 3, four: [4] }], f: {}, g: [] },
    { tricky: ["true", "no", "1", "", "a: b", "# c", "- d", "x:", "*", "&a", "yes", "null", "~", " lead", "10s", "5xx,reset", "multi\nline", "한글", "'", '"'] },
    { "key with space": 1, "80": { mode: "STRICT" }, "app.kubernetes.io/name": "x" },
    [[1, 2], [{ a: 1 }]],
  ];
  for (const v of values) assert.deepEqual(parse(toYaml(v)), v);
  assert.equal(parseAllDocuments(documents([{ a: 1 }, { b: 2 }])).length, 2);
});

test("shifting traffic: a DestinationRule with the subsets and a VirtualService with the weights", () => {
  const made = trafficShifting(target, [{ name: "v1", labels: { version: "v1" }, weight: 90 }, { name: "v2", labels: { version: "v2" }, weight: 10 }]);
  assert.deepEqual(made.warnings, []);
  assert.equal(documents(made.objects), `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: web-service
  namespace: blog-system
spec:
  host: web-service
  subsets:
  - name: v1
    labels:
      version: v1
  - name: v2
    labels:
      version: v2
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: web-service
  namespace: blog-system
spec:
  hosts:
  - web-service
  http:
  - route:
    - destination:
        host: web-service
        subset: v1
      weight: 90
    - destination:
        host: web-service
        subset: v2
      weight: 10
`);
});

test("what is there already is changed, and the rest of it stays", () => {
  const there = {
    ...target,
    virtualService: { name: "web-vsvc", spec: { hosts: ["web-service"], http: [
      { name: "testers", match: [{ headers: { "x-canary": { exact: "true" } } }], route: [{ destination: { host: "web-service", subset: "canary" } }] },
      { name: "primary", route: [{ destination: { host: "web-service", subset: "stable" } }], timeout: "10s", retries: { attempts: 3 } },
    ] } },
    destinationRule: { name: "web-dest-rule", spec: { host: "web-service", trafficPolicy: { tls: { mode: "ISTIO_MUTUAL" } }, subsets: [{ name: "stable", labels: { version: "v1" } }, { name: "canary", labels: {} }] } },
  };
  const [rule, routes] = trafficShifting(there, [{ name: "v1", labels: { version: "v1" }, weight: 90 }, { name: "v2", labels: { version: "v2" }, weight: 10 }]).objects as never as { metadata: { name: string }; spec: Record<string, never> }[];
  assert.deepEqual([rule.metadata.name, routes.metadata.name], ["web-dest-rule", "web-vsvc"]);
  assert.deepEqual(rule.spec.trafficPolicy, { tls: { mode: "ISTIO_MUTUAL" } });
  assert.deepEqual((rule.spec.subsets as { name: string }[]).map((s) => s.name), ["stable", "canary", "v2"], "v1 is stable already");
  const [testers, primary] = routes.spec.http as never as Record<string, unknown>[];
  assert.deepEqual(testers, there.virtualService.spec.http[0]);
  assert.deepEqual(primary, { name: "primary", timeout: "10s", retries: { attempts: 3 }, route: [{ destination: { host: "web-service", subset: "stable" }, weight: 90 }, { destination: { host: "web-service", subset: "v2" }, weight: 10 }] });

  assert.deepEqual([{ version: "v1" }, { version: "v2" }].map((l) => weightNow(there, l)), [100, null]);
  const httpOf = (made: { objects: unknown[] }) => (made.objects[0] as { spec: { http: Record<string, unknown>[] } }).spec.http;
  const faulty = httpOf(faultInjection(there, { delayPercent: 0, delayMs: 0, abortPercent: 5, abortCode: 500 }));
  assert.deepEqual(faulty.map((r) => r.fault), Array(2).fill({ abort: { percentage: { value: 5 }, httpStatus: 500 } }));
  assert.deepEqual(faulty[1].retries, { attempts: 3 });
  const patient = httpOf(timeouts(there, { timeoutMs: 0, attempts: 0, perTryMs: 0, retryOn: "" }));
  assert.deepEqual(patient.map((r) => [r.timeout, r.retries]), [[undefined, { attempts: 0 }], [undefined, { attempts: 0 }]]);
  assert.deepEqual(patient[0].match, there.virtualService.spec.http[0].match);
});

test("shifting traffic warns of weights that do nothing", () => {
  assert.deepEqual(trafficShifting(target, [{ name: "a", labels: {}, weight: 50 }, { name: "b", labels: {}, weight: 40 }]).warnings, ["weights", "emptySubset", "equalSubsets"]);
  assert.deepEqual(trafficShifting(target, []), { objects: [], warnings: ["noSubsets"] });
});

test("faults: only those that are asked for", () => {
  const spec = (f: Parameters<typeof faultInjection>[1]): unknown => (parse(toYaml(faultInjection(target, f).objects[0])) as { spec: { http: unknown[] } }).spec.http[0];
  assert.deepEqual(spec({ delayPercent: 10, delayMs: 2500, abortPercent: 0, abortCode: 503 }), { fault: { delay: { percentage: { value: 10 }, fixedDelay: "2500ms" } }, route: [{ destination: { host: "web-service" } }] });
  assert.deepEqual(spec({ delayPercent: 0, delayMs: 0, abortPercent: 5, abortCode: 418 }), { fault: { abort: { percentage: { value: 5 }, httpStatus: 418 } }, route: [{ destination: { host: "web-service" } }] });
  assert.deepEqual(spec({ delayPercent: 0, delayMs: 0, abortPercent: 0, abortCode: 503 }), { route: [{ destination: { host: "web-service" } }] });
});

test("timeouts: no retries means none, and tries that never happen are told", () => {
  const of = (p: Parameters<typeof timeouts>[1]): { timeout?: string; retries: unknown } => (parse(toYaml(timeouts(target, p).objects[0])) as { spec: { http: [{ timeout?: string; retries: unknown }] } }).spec.http[0];
  assert.deepEqual(of({ timeoutMs: 10_000, attempts: 2, perTryMs: 2000, retryOn: "5xx" }).retries, { attempts: 2, perTryTimeout: "2s", retryOn: "5xx" });
  assert.equal(of({ timeoutMs: 10_000, attempts: 2, perTryMs: 2000, retryOn: "5xx" }).timeout, "10s");
  assert.deepEqual(of({ timeoutMs: 0, attempts: 0, perTryMs: 0, retryOn: "" }).retries, { attempts: 0 });
  assert.equal(of({ timeoutMs: 0, attempts: 0, perTryMs: 0, retryOn: "" }).timeout, undefined);
  assert.deepEqual(timeouts(target, { timeoutMs: 5000, attempts: 3, perTryMs: 2000, retryOn: "5xx" }).warnings, ["tryLongerThanTimeout"]);
});

test("mTLS: a port can be let out only with a selector", () => {
  const whole = mutualTls(target, { mode: "STRICT", wholeNamespace: true, plainPorts: [80], plainCallers: true });
  assert.deepEqual(whole.warnings, ["portsNeedSelector", "strictPlainCallers"]);
  assert.deepEqual((whole.objects[0] as { spec: unknown }).spec, { mtls: { mode: "STRICT" } });
  const pods = mutualTls(target, { mode: "STRICT", wholeNamespace: false, plainPorts: [80], plainCallers: false });
  assert.deepEqual(parse(toYaml(pods.objects[0])).spec, { selector: { matchLabels: { app: "web" } }, mtls: { mode: "STRICT" }, portLevelMtls: { 80: { mode: "PERMISSIVE" } } });
});

test("authorization: exactly who was seen, by the name of the certificate; who has none is told of", () => {
  const made = authorization(target, [{ principal: "spiffe://cluster.local/ns/a/sa/x", name: "x" }, { principal: "spiffe://cluster.local/ns/a/sa/x", name: "x2" }, { principal: null, name: "ingress" }], [80]);
  assert.deepEqual(made.warnings, ["noIdentity"]);
  assert.deepEqual((made.objects[0] as { spec: { rules: unknown } }).spec.rules, [{ from: [{ source: { principals: ["cluster.local/ns/a/sa/x"] } }], to: [{ operation: { ports: ["80"] } }] }]);
  const nobody = authorization(target, [], [80]);
  assert.deepEqual(nobody.warnings, ["nothingSeen"]);
  assert.equal((nobody.objects[0] as { spec: { rules?: unknown } }).spec.rules, undefined);
});
