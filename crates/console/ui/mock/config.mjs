// Configuration objects with a history, checks enough to show the editor at work, and an apply that is kept in memory.
import { failure } from "./failure.mjs";

const istio = (group, version, kind, namespace, name, spec, labels = "") => ({
  ref: { group, version, kind, namespace, name },
  yaml: `apiVersion: ${group}/${version}\nkind: ${kind}\nmetadata:\n  name: ${name}\n  namespace: ${namespace}\n${labels}spec:\n${spec}`,
});

const vsvc = (stable, canary) => `  hosts:
  - web-service
  http:
  - name: canary-testing
    match:
    - headers:
        x-canary-test:
          exact: "true"
    route:
    - destination:
        host: web-service
        subset: canary
      weight: 100
  - name: primary
    route:
    - destination:
        host: web-service
        subset: stable
      weight: ${stable}
    - destination:
        host: web-service
        subset: canary
      weight: ${canary}
    retries:
      attempts: 3
      perTryTimeout: 2s
      retryOn: 5xx,reset,connect-failure,refused-stream
    timeout: 10s
`;
const rule = (requests) => `  host: was-service
  trafficPolicy:
    tls:
      mode: ISTIO_MUTUAL
    connectionPool:
      http:
        http1MaxPendingRequests: ${requests}
        http2MaxRequests: ${requests}
        maxRequestsPerConnection: 10
    loadBalancer:
      simple: ROUND_ROBIN
`;
const net = ["networking.istio.io", "v1"];
const sec = ["security.istio.io", "v1"];

function initial(start) {
  const m = (minutes) => start + minutes * 60;
  const made = [
    [[m(-1500), "kubectl", "created", istio(...net, "DestinationRule", "blog-system", "was-dest-rule", rule(100))],
      [m(-14), "jimin", "http1MaxPendingRequests 100 -> 1", istio(...net, "DestinationRule", "blog-system", "was-dest-rule", rule(1))],
      [m(-8), "jimin", "http1MaxPendingRequests 1 -> 100", istio(...net, "DestinationRule", "blog-system", "was-dest-rule", rule(100))]],
    [[m(-1500), "kubectl", "created", istio(...net, "VirtualService", "blog-system", "web-vsvc", vsvc(100, 0))],
      [m(-6), "argo-rollouts", "weight of canary 0 -> 10", istio(...net, "VirtualService", "blog-system", "web-vsvc", vsvc(90, 10))]],
    [[m(-1500), "kubectl", "created", istio(...net, "DestinationRule", "blog-system", "web-dest-rule", `  host: web-service
  trafficPolicy:
    tls:
      mode: ISTIO_MUTUAL
    outlierDetection:
      consecutive5xxErrors: 5
      interval: 10s
      baseEjectionTime: 30s
  subsets:
  - name: stable
    labels:
      version: v1
  - name: canary
    labels: {}
`)]],
    [[m(-1500), "kubectl", "created", istio(...sec, "PeerAuthentication", "blog-system", "default", "  mtls:\n    mode: PERMISSIVE\n")]],
    [[m(-1400), "kubectl", "created", istio(...sec, "AuthorizationPolicy", "blog-system", "was-authz", `  selector:
    matchLabels:
      app: was
  action: ALLOW
  rules:
  - from:
    - source:
        principals: ["cluster.local/ns/blog-system/sa/web"]
    to:
    - operation:
        ports: ["8080"]
        paths: ["/api/*", "/actuator/*"]
`)]],
    [[m(-2000), "helm", "created", istio(...net, "ServiceEntry", "platform", "slack", "  hosts:\n  - hooks.slack.com\n  location: MESH_EXTERNAL\n  ports:\n  - name: tls\n    number: 443\n    protocol: TLS\n  resolution: DNS\n")]],
  ];
  const objects = new Map();
  for (const history of made) {
    const revisions = history.map(([at, by, summary, object], i) => ({ at, by, summary, resourceVersion: String(1000 + i), yaml: object.yaml, ref: object.ref }));
    objects.set(keyOf(revisions[0].ref), revisions);
  }
  return objects;
}

const keyOf = (ref) => `${ref.namespace}/${ref.kind}/${ref.name}`;
const extra = (start) => [
  { at: start - 50 * 60, verb: "updated", kind: "Ingress", namespace: "blog-system", name: "blog-ingress", by: "jimin", summary: "/api: was-service:8080 -> web-service:80" },
  { at: start - 35 * 60, verb: "updated", kind: "Deployment", namespace: "blog-system", name: "web", by: "jimin", summary: "spec.template.metadata.annotations.kubectl.kubernetes.io/restartedAt none -> 2026-07-04T09:25:00Z" },
];

export function createConfig(world) {
  const objects = initial(world.start);
  const known = new Set([...world.services.map((s) => s.name), ...world.entries.flatMap((e) => e.hosts)]);
  const validate = (yaml) => check(yaml, known);
  const listeners = new Set();
  const last_ = (revisions, at) => revisions.filter((r) => r.at <= at).at(-1);
  const at_ = (revisions, at) => { const last = last_(revisions, at); return last?.verb === "deleted" ? undefined : last; };
  const changes = (from, to) => [
    ...extra(world.start),
    ...[...objects.values()].flatMap((revisions) => revisions.map((r, i) => ({ at: r.at, verb: r.verb ?? (i ? "updated" : "created"), kind: r.ref.kind, namespace: r.ref.namespace, name: r.ref.name, by: r.by, summary: r.summary }))),
  ].filter((c) => c.at >= from && c.at <= to).sort((a, b) => a.at - b.at);
  return {
    listeners, validate, changes,
    count: (yaml) => { const f = validate(yaml); return { errors: f.filter((x) => x.severity === "error").length, warnings: f.filter((x) => x.severity === "warning").length }; },
    list(q, at) {
      const namespaces = (q.get("namespaces") ?? "").split(",").filter(Boolean);
      return [...objects.values()].map((r) => ({ first: r[0], last: at_(r, at) })).filter(({ last }) => last && (!namespaces.length || namespaces.includes(last.ref.namespace)))
        .map(({ first, last }) => ({ ...last.ref, created: first.at, changed: last.at, findings: this.count(last.yaml), managedBy: last.by === "argo-rollouts" ? "argo-rollouts" : last.by === "helm" ? "helm" : "" }));
    },
    object(namespace, kind, name, at) {
      const revisions = objects.get(`${namespace === "-" ? "" : namespace}/${kind}/${name}`);
      const last = revisions && last_(revisions, at);
      if (!last) throw failure(404, "notFound", `There is no ${kind} ${name} in ${namespace} at this time.`, "Look at another time, or at the list.");
      const history = revisions.filter((r) => r.at <= at).map(({ ref: _, ...r }, i) => ({ verb: i ? "updated" : "created", ...r })).reverse();
      if (last.verb === "deleted") return { ref: last.ref, yaml: revisions.filter((r) => r.verb !== "deleted").at(-1).yaml, resourceVersion: "", managedBy: "", findings: [], history, affects: [], deleted: last.at };
      return { ref: last.ref, yaml: last.yaml, resourceVersion: last.resourceVersion, managedBy: last.by === "argo-rollouts" ? "argo-rollouts" : "", findings: validate(last.yaml), history, affects: [{ namespace, name: "web" }, { namespace, name: "was" }], deleted: null };
    },
    delete({ ref, dryRun, resourceVersion }, at, may) {
      may(ref, "delete");
      const revisions = objects.get(keyOf(ref));
      const before = revisions && at_(revisions, at);
      if (resourceVersion && before?.resourceVersion !== resourceVersion) throw failure(409, "conflict", `Somebody else ${before ? "changed" : "deleted"} ${ref.kind} ${ref.name} since this change was begun.`, "Look at it as it is now, then make the change anew.");
      if (!before) throw failure(404, "notFound", `There is no ${ref.kind} ${ref.name}.`);
      const keeper = before.by === "argo-rollouts" || before.by === "helm" ? before.by : "";
      const findings = keeper ? [{ severity: "warning", code: "managed", message: `${keeper} keeps this object, and may make it anew.`, hint: "Delete it where it comes from, if it is to stay away.", field: "metadata", line: 0, column: 0 }] : [];
      const waits = /finalizers:/.test(before.yaml);
      if (waits) findings.push({ severity: "warning", code: "finalizer", message: "It stays, and holds, until example.com/tidy has let go of it.", hint: "", field: "metadata.finalizers", line: 0, column: 0 });
      if (!dryRun && !waits) {
        revisions.push({ at, verb: "deleted", by: "", summary: "", resourceVersion: before.resourceVersion, yaml: "", ref: before.ref });
        for (const l of listeners) l({ at, verb: "deleted", kind: ref.kind, namespace: ref.namespace, name: ref.name, by: "", summary: "" });
      }
      return { deleted: !dryRun && !waits, ref: before.ref, yaml: before.yaml, findings, effect: dryRun ? effect([], at) : null };
    },
    apply({ yaml, dryRun, resourceVersion, force = false }, at, may) {
      const findings = validate(yaml);
      if (findings.some((f) => f.severity === "error")) throw failure(422, "invalid", "The API server refuses this object.", "Mend what is marked.", findings);
      const done = yaml.split(/^---$/m).map((text) => text.trimStart()).filter(Boolean).map((text) => one(text, { dryRun, resourceVersion, force }, at, may));
      const applied = !dryRun && done.some((d) => d.verb !== "unchanged");
      return { applied, objects: done, findings, effect: dryRun && done.some((d) => d.verb !== "unchanged") ? effect(done, at) : null };
    },
  };

  function one(yaml, { dryRun, resourceVersion, force }, at, may) {
    const field = (name) => new RegExp(`^\\s*${name}:\\s*(\\S+)`, "m").exec(yaml)?.[1] ?? "";
    const [group, version] = (/^apiVersion:\s*(\S+)/m.exec(yaml)?.[1] ?? "/").split("/");
    const ref = { group, version, kind: /^kind:\s*(\S+)/m.exec(yaml)?.[1] ?? "", namespace: field("namespace"), name: field("name") };
    may(ref);
    const revisions = objects.get(keyOf(ref));
    const newest = revisions?.at(-1);
    const before = newest?.verb === "deleted" ? undefined : newest;
    if (before && resourceVersion !== null && resourceVersion !== undefined && before.resourceVersion !== resourceVersion) throw failure(409, "conflict", "Somebody else changed this object in the meantime.", "Look at the difference, then apply again.");
    if (!before && resourceVersion) throw failure(409, "conflict", "Somebody else deleted this object in the meantime.", "Look at the difference, then apply again.");
    const verb = !before ? "created" : before.yaml === yaml ? "unchanged" : "updated";
    if (verb === "updated" && !force && before.by === "argo-rollouts") throw failure(409, "managed", `"argo-rollouts" manages .spec.http of ${ref.kind} ${ref.name}.`, "Change the weight in the Rollout, or take the field over.");
    if (!dryRun && verb !== "unchanged") {
      const made = { at, by: "console", summary: verb === "created" ? "created" : "edited in the console", resourceVersion: String(Number(newest?.resourceVersion ?? 999) + 1), verb, yaml, ref };
      if (revisions) revisions.push(made); else objects.set(keyOf(ref), [made]);
      for (const l of listeners) l({ at, verb, kind: ref.kind, namespace: ref.namespace, name: ref.name, by: "console", summary: made.summary });
    }
    return { ref, verb, before: before?.yaml ?? "", after: yaml };
  }
}

/** Made-up requests, and what a kind of change does to them. */
function effect(done, at) {
  const of = (kind) => done.find((d) => d.ref.kind === kind)?.ref;
  const cluster = (subset, host, port) => `outbound|${port}|${subset}|${host}.blog-system.svc.cluster.local`;
  const met = (outcome, status, to, workload) => ({ outcome, status, cluster: to, workload, verdict: "" });
  const group = (more) => ({ share: 1, changes: [], because: "", by: null, codes: { 200: more.requests }, examples: [], ...more });
  const groups = [];
  const policy = of("AuthorizationPolicy");
  if (policy) {
    const was = cluster("", "was-service", 8080);
    groups.push(group({
      kind: "denied", from: { namespace: "blog-system", workload: "web" }, to: "was-service.blog-system.svc.cluster.local", requests: 38,
      before: met("ok", null, was, "blog-system/was"), after: met("denied", 403, was, "blog-system/was"), by: { ...policy, line: 9, field: "spec.rules[0]" },
      because: "there are ALLOW policies and none of their rules matches", examples: [{ at: at - 30, method: "GET", path: "/api/posts", code: 200, traceId: "0af7651916cd43dd8448eb211c80319c" }],
    }));
  }
  const rule = of("VirtualService");
  if (rule) {
    const web = (subset) => cluster(subset, "web-service", 80);
    groups.push(group({
      kind: "rerouted", from: { namespace: "ingress-nginx", workload: "ingress-nginx-controller" }, to: "web-service.blog-system.svc.cluster.local", requests: 600, share: 0.5,
      before: met("ok", null, web("stable"), "blog-system/web"), after: met("ok", null, web("canary"), "blog-system/web-canary"), by: { ...rule, line: 8, field: "spec.http[0]" },
      changes: [{ step: "route", before: web("stable"), after: web("canary") }], because: "the first rule that matches",
    }));
  }
  const tokens = of("RequestAuthentication");
  if (tokens) {
    const was = cluster("", "was-service", 8080);
    const as = met("ok", null, was, "blog-system/was");
    groups.push(group({ kind: "unknown", from: { namespace: "blog-system", workload: "web" }, to: "was-service.blog-system.svc.cluster.local", requests: 38, before: as, after: as, because: "a token (of https://issuer.example)" }));
  }
  const others = groups.reduce((sum, g) => sum + g.requests, 0);
  return { from: at - 600, to: at, requests: 1240, recorded: 124, same: 1240 - others, groups, more: 0, unexamined: 0, hidden: 0, unread: 0, unrecorded: 12, records: "kept" };
}

/** Some checks, by lines: enough to see the editor mark them. */
function check(yaml, known) {
  const findings = [];
  const lines = yaml.split("\n");
  const kind = /^kind:\s*(\S+)/m.exec(yaml)?.[1];
  const add = (severity, code, message, hint, field, i) => findings.push({ severity, code, message, hint, field, line: i + 1, column: lines[i].search(/\S/) + 1 });
  let weights = [];
  lines.forEach((line, i) => {
    const host = /^\s*(?:- )?host: (\S+)/.exec(line)?.[1];
    if (host && kind === "VirtualService" && !known.has(host.split(".")[0]) && !known.has(host)) add("error", "KIA1101", `Host ${host} is not in the registry.`, "Requests on this route get 503. Name a service or write a ServiceEntry.", "spec.http.route.destination.host", i);
    if (host && kind === "DestinationRule" && !known.has(host.split(".")[0])) add("error", "KIA0202", `Host ${host} is not in the registry.`, "This rule applies to nothing.", "spec.host", i);
    if (/labels: \{\}/.test(line)) add("warning", "KIA0209", "This subset has no labels: it is every pod of the service.", "A weight for it does nothing. Add the label that tells its pods, for example version: v2.", "spec.subsets.labels", i);
    const weight = /weight: (-?\d+)/.exec(line)?.[1];
    if (weight) weights.push([Number(weight), i]);
    const mode = /^\s+mode: (\S+)/.exec(line)?.[1];
    if (mode && kind === "PeerAuthentication" && !["STRICT", "PERMISSIVE", "DISABLE", "UNSET"].includes(mode)) add("error", "schema", `${mode} is no mode of mTLS.`, "One of STRICT, PERMISSIVE, DISABLE.", "spec.mtls.mode", i);
    if (/^\s*(- name: |route:)/.test(line) && weights.length) { sum(weights); weights = []; }
  });
  function sum(list) { const all = list.reduce((s, [w]) => s + w, 0); if (list.length > 1 && all !== 100) add("warning", "weights", `Weights sum to ${all}, not 100.`, "They are taken as shares of their sum.", "spec.http.route.weight", list.at(-1)[1]); }
  sum(weights);
  return findings;
}
