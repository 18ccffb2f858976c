// Lists of the contract.
import { graphOf, verdict } from "./graph.mjs";
import { examples } from "./tracing.mjs";

const empty = { errors: 0, warnings: 0 };
const namespacesOf = (q) => (q.get("namespaces") ?? "").split(",").filter(Boolean);

export function info({ world, access, config, now, interval }, request = null) {
  const names = [...new Set([...world.workloads, ...world.services].map((w) => w.namespace))].sort();
  const at = now();
  const { nodes } = graphOf(world, { graphType: "workload", inject: false, idle: true, namespaces: [], duration: 600, at });
  const order = ["NA", "Healthy", "Not Ready", "Degraded", "Failure"];
  return {
    version: "0.1.0-mock", now: at * 1000, oldest: world.start - 7 * 86400, podsSince: world.start - 7 * 86400, interval, cluster: "local", access: request ? access.of(request) : access.nobody,
    namespaces: names.map((name) => ({
      name, injected: name !== "ingress-nginx", ambient: false, controlPlane: false, mtls: name === "blog-system" ? "PERMISSIVE" : "STRICT",
      health: [...nodes.values()].filter((n) => n.namespace === name).reduce((w, n) => (order.indexOf(n.health?.status ?? "NA") > order.indexOf(w) ? n.health.status : w), "NA"),
      workloads: world.workloads.filter((w) => w.namespace === name).length, services: world.services.filter((s) => s.namespace === name).length,
      findings: name === "blog-system" ? config.list(new URLSearchParams({ namespaces: name }), at).reduce((s, c) => ({ errors: s.errors + c.findings.errors, warnings: s.warnings + c.findings.warnings }), empty) : empty,
    })),
  };
}

function answers(world, at, pick) {
  return world.flows(at).filter(pick).filter((f) => f.protocol !== "tcp").flatMap((f) => f.responses.map((r) => ({ ...r, rate: f.rate * r.share })));
}

function item(world, at, pick) {
  const responses = answers(world, at, pick);
  const rate = responses.reduce((s, r) => s + r.rate, 0);
  const bad = responses.filter((r) => /^[45]/.test(r.code)).reduce((s, r) => s + r.rate, 0);
  const said = verdict("http", "inbound", responses, 600);
  return { health: { verdict: said, status: said.status }, examples: bad > 0 ? examples(world, at) : [], rate, errorShare: rate ? bad / rate : 0, findings: empty };
}

export function workloads({ world }, q, at) {
  const wanted = namespacesOf(q);
  return world.workloads.filter((w) => !wanted.length || wanted.includes(w.namespace)).map((w) => {
    const made = item(world, at, (f) => f.to === `${w.namespace}/${w.name}`);
    const replicas = { name: w.name, desired: w.replicas, current: w.replicas, available: w.replicas, syncedProxies: w.sidecar ? w.replicas : -1 };
    made.health.workloads = [replicas];
    return { namespace: w.namespace, name: w.name, kind: w.name === "mysql" ? "StatefulSet" : w.app === "web" ? "Rollout" : "Deployment", app: w.app, version: w.version, sidecar: w.sidecar, ambient: false, replicas, ...made };
  });
}

export function services({ world, config }, q, at) {
  const wanted = namespacesOf(q);
  const objects = config.list(new URLSearchParams(), at);
  return world.services.filter((s) => !wanted.length || wanted.includes(s.namespace)).map((s) => {
    const refs = objects.filter((o) => o.namespace === s.namespace && ((s.name === "web-service" && o.name.startsWith("web")) || (s.name === "was-service" && o.name.startsWith("was"))));
    return { namespace: s.namespace, name: s.name, ports: [{ name: s.protocol, number: s.port, protocol: s.protocol.toUpperCase() }], selector: s.selector, hosts: [`${s.name}.${s.namespace}.svc.cluster.local`], ...item(world, at, (f) => f.service === `${s.namespace}/${s.name}`), config: refs.map(({ group, version, kind, namespace, name }) => ({ group, version, kind, namespace, name })), findings: refs.reduce((a, o) => ({ errors: a.errors + o.findings.errors, warnings: a.warnings + o.findings.warnings }), empty) };
  });
}

export function applications({ world }, q, at) {
  const wanted = namespacesOf(q);
  const apps = new Map();
  for (const w of world.workloads) if (!wanted.length || wanted.includes(w.namespace)) { const k = `${w.namespace}/${w.app}`; (apps.get(k) ?? apps.set(k, []).get(k)).push(w); }
  return [...apps.values()].map((list) => ({
    namespace: list[0].namespace, name: list[0].app, versions: list.map((w) => w.version).filter(Boolean), workloads: list.map((w) => w.name),
    services: world.services.filter((s) => s.namespace === list[0].namespace && s.selector.app === list[0].app).map((s) => s.name),
    ...item(world, at, (f) => list.some((w) => f.to === `${w.namespace}/${w.name}`)),
  }));
}
