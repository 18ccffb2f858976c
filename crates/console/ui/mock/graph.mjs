// The graph of the contract, made from the flows of the world: the four types, with or without services between.

const tally = () => ({ total: 0, noResponse: 0, redirects: 0, clientErrors: 0, serverErrors: 0, grpcErrors: 0 });
const traffic = () => ({ http: { incoming: tally(), outgoing: tally() }, grpc: { incoming: tally(), outgoing: tally() }, tcp: { incoming: tally(), outgoing: tally() } });
const badges = () => ({ circuitBreaker: false, faultInjection: false, mirroring: false, requestRouting: false, requestTimeout: false, tcpTrafficShifting: false, trafficShifting: false, virtualService: null, workloadEntries: [], gateway: null, ingressWaypoint: false, gatewayApi: false });

function blank(key, kind, namespace) {
  return { key, kind, cluster: "local", namespace, workload: "", app: "", version: "", service: "", aggregate: null, traffic: traffic(), services: [], labels: {}, badges: badges(), ambient: false, dead: false, inaccessible: false, injected: false, outOfMesh: false, outside: false, root: false, waypoint: false, egress: null, idle: null, serviceEntry: null, health: null };
}

function add(to, protocol, code, rate) {
  to.total += rate;
  if (protocol === "http" && code[0] === "5") to.serverErrors += rate;
  else if (protocol === "http" && code[0] === "4") to.clientErrors += rate;
  else if (protocol === "grpc" && code !== "0") to.grpcErrors += rate;
}

function addAll(to, from) { for (const k of Object.keys(to)) to[k] += from[k]; }

const rules = [["5XX", /^5/, 0, 10], ["4XX", /^4/, 10, 20]];

/** Health as Kiali decides it by default, with what is needed to believe it. */
export function health(protocol, direction, responses, window, at, traces) {
  const total = responses.reduce((s, r) => s + r.rate, 0);
  if (protocol === "tcp" || total === 0) return { status: "na", rule: null, total: 0, errors: 0, significant: false, examples: [], replicas: null };
  let found = { status: "healthy", rule: null, errors: 0 };
  for (const [code, pattern, degraded, failure] of rules) {
    const errors = responses.filter((r) => pattern.test(r.code)).reduce((s, r) => s + r.rate, 0);
    const percent = (100 * errors) / total;
    const status = percent >= failure ? "failure" : percent > degraded ? "degraded" : "healthy";
    if (status !== "healthy" && found.status !== "failure") found = { status, errors, rule: { code, protocol, direction, degraded, failure, source: "default" } };
  }
  return { ...found, total: Math.round(total * window), errors: Math.round(found.errors * window), significant: total * window > 30, examples: found.errors ? traces(at) : [], replicas: null };
}

export function graphOf(world, options, traces = () => []) {
  const { graphType: type, inject, idle, namespaces, duration, at } = options;
  const nodes = new Map();
  const edges = new Map();
  const wl = new Map(world.workloads.map((w) => [`${w.namespace}/${w.name}`, w]));
  const node = (key, kind, ns, fill) => { let n = nodes.get(key); if (!n) { n = blank(key, kind, ns); fill(n); nodes.set(key, n); } return n; };
  const ofWorkload = (name) => {
    if (!name) return node("local_unknown_source", "unknown", "unknown", (n) => { n.workload = n.app = n.version = "unknown"; n.root = true; });
    const w = wl.get(name);
    const fill = (n) => { n.app = w.app; n.labels = w.labels; n.outOfMesh = !w.sidecar; if (type !== "app") { n.workload = w.name; n.version = w.version; } };
    if (type === "workload" || type === "service") return node(`wl_local_${w.namespace}_${w.name}`, "workload", w.namespace, fill);
    if (type === "versionedApp") return node(`vapp_local_${w.namespace}_${w.name}`, "app", w.namespace, fill);
    return node(`app_local_${w.namespace}_${w.app}`, "app", w.namespace, fill);
  };
  const ofService = (name) => {
    if (name.startsWith("entry:")) {
      const entry = world.entries.find((e) => `entry:${e.namespace}/${e.name}` === name);
      return node(`svc_local_${entry.namespace}_${entry.hosts[0]}`, "service", entry.namespace, (n) => { n.service = entry.hosts[0]; n.serviceEntry = { namespace: entry.namespace, name: entry.name, hosts: entry.hosts, internal: false }; });
    }
    const [ns, service] = name.split("/");
    if (ns === "*") return node(`svc_local_unknown_${service}`, "service", "unknown", (n) => { n.service = service; n.egress = service; });
    return node(`svc_local_${ns}_${service}`, "service", ns, (n) => { n.service = service; n.injected = true; if (service === "was-service") n.badges.circuitBreaker = true; });
  };
  const canary = world.chapter?.(at) === "canary";
  const edge = (source, target, f) => {
    if (source === target) return;
    const id = `${source.key}>${target.key}>${f.protocol}`;
    let e = edges.get(id);
    if (!e) edges.set(id, e = { source: source.key, target: target.key, protocol: f.protocol, unit: f.protocol === "tcp" ? "bytes" : "requests", rates: tally(), responses: [], security: null, responseTimes: null, throughput: null, health: null, unmatched: [], hidden: false, weight: 0 });
    const list = f.responses.length ? f.responses : [{ code: "", flags: "", host: "", share: 1 }];
    for (const r of list) {
      const rate = f.rate * r.share;
      add(e.rates, f.protocol, r.code, rate);
      if (f.protocol === "tcp") continue;
      const old = e.responses.find((o) => o.code === r.code && o.flags === r.flags && o.host === r.host);
      if (old) old.rate += rate; else e.responses.push({ code: r.code, flags: r.flags, host: r.host, rate });
    }
    const w = e.weight + f.rate;
    const mean = (a, b) => (a * e.weight + b * f.rate) / w;
    if (f.times) e.responseTimes = { avg: mean(e.responseTimes?.avg ?? 0, f.times[0] * 1.25), p50: mean(e.responseTimes?.p50 ?? 0, f.times[0]), p95: mean(e.responseTimes?.p95 ?? 0, f.times[1]), p99: mean(e.responseTimes?.p99 ?? 0, f.times[2]) };
    if (f.protocol !== "tcp") e.throughput = { request: (e.throughput?.request ?? 0) + f.rate * f.bytes[0], response: (e.throughput?.response ?? 0) + f.rate * f.bytes[1] };
    e.security = { mtls: mean(e.security?.mtls ?? 0, f.mtls), sourcePrincipal: f.principals[0], destinationPrincipal: f.principals[1], morePrincipals: false };
    e.unmatched.push(...f.unmatched);
    e.weight = w;
  };
  const wanted = (ns) => namespaces.length === 0 || namespaces.includes(ns);
  for (const f of world.flows(at)) {
    const ns = [f.from?.split("/")[0], f.service.replace("entry:", "").split("/")[0]];
    if (!ns.some((n) => n && wanted(n))) continue;
    const source = type === "service" ? serviceOf(world, f.from) : null;
    const from = type === "service" && source ? ofService(source) : ofWorkload(f.from);
    const target = f.to ? ofWorkload : null;
    if (type === "service") { edge(from, ofService(f.service), f); continue; }
    if (!target) { edge(from, ofService(f.service), f); continue; }
    if (inject) { const s = ofService(f.service); edge(from, s, f); edge(s, ofWorkload(f.to), f); if (canary && f.service.endsWith("web-service")) { s.badges.trafficShifting = s.badges.requestRouting = true; s.badges.virtualService = ["web-vsvc", ["web-service"]]; } } else edge(from, ofWorkload(f.to), f);
  }
  if (type === "service") for (const [key, n] of nodes) if (n.kind === "workload" && !n.outOfMesh && !n.root && ![...edges.values()].some((e) => e.source === key || e.target === key)) nodes.delete(key);
  if (idle && type !== "service") for (const w of world.workloads) if (wanted(w.namespace)) { const n = ofWorkload(`${w.namespace}/${w.name}`); if (w.idle) n.idle = w.idle; }
  for (const e of edges.values()) {
    const [s, d] = [nodes.get(e.source), nodes.get(e.target)];
    addAll(s.traffic[e.protocol].outgoing, e.rates);
    addAll(d.traffic[e.protocol].incoming, e.rates);
    e.health = health(e.protocol, "inbound", e.responses, duration, at, traces);
    delete e.weight;
  }
  for (const n of nodes.values()) {
    const into = [...edges.values()].filter((e) => e.target === n.key);
    n.root ||= into.length === 0 && [...edges.values()].some((e) => e.source === n.key);
    n.outside = namespaces.length > 0 && !namespaces.includes(n.namespace);
    const responses = into.filter((e) => e.protocol !== "tcp").flatMap((e) => e.responses);
    n.health = health("http", "inbound", responses, duration, at, traces);
    if (n.kind === "workload" || (n.kind === "app" && n.workload)) {
      const w = wl.get(`${n.namespace}/${n.workload}`);
      if (w) n.health.replicas = { desired: w.replicas, current: w.replicas, available: w.replicas, syncedProxies: w.sidecar ? w.replicas : -1 };
    }
  }
  return { nodes, edges };
}

/** The service that a workload stands behind. */
function serviceOf(world, name) {
  if (!name) return null;
  const w = world.workloads.find((x) => `${x.namespace}/${x.name}` === name);
  const s = w && world.services.find((x) => x.namespace === w.namespace && x.selector.app === w.app);
  return s ? `${s.namespace}/${s.name}` : null;
}

/** As `/graph` answers: ends of edges are places. */
export function answer({ nodes, edges }, options) {
  const keys = [...nodes.keys()];
  const place = new Map(keys.map((k, i) => [k, i]));
  return { graphType: options.graphType, timestamp: options.at, duration: options.duration, nodes: [...nodes.values()], edges: [...edges.values()].map((e) => ({ ...e, source: place.get(e.source), target: place.get(e.target) })), leftOut: { contradictory: 0, unusable: 0, reportedTwice: 0 } };
}
