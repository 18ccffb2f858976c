// The graph of the contract, made from the flows of the world: the four types, with or without services between.

const tally = () => ({ total: 0, noResponse: 0, redirects: 0, clientErrors: 0, serverErrors: 0, grpcErrors: 0 });
const traffic = () => ({ http: { incoming: tally(), outgoing: tally() }, grpc: { incoming: tally(), outgoing: tally() }, tcp: { incoming: tally(), outgoing: tally() } });
const badges = () => ({ circuitBreaker: false, faultInjection: false, mirroring: false, requestRouting: false, requestTimeout: false, tcpTrafficShifting: false, trafficShifting: false, virtualService: null, workloadEntries: [], gateway: null, ingressWaypoint: false, gatewayApi: false });

function blank(key, kind, namespace, cluster) {
  return { key, kind, cluster, namespace, workload: "", app: "", version: "", service: "", aggregate: null, traffic: traffic(), services: [], labels: {}, badges: badges(), ambient: false, dead: false, inaccessible: false, injected: false, outOfMesh: false, outside: false, root: false, waypoint: false, egress: null, idle: null, serviceEntry: null, health: null, examples: [] };
}

function add(to, protocol, code, rate) {
  to.total += rate;
  if (protocol === "http" && code[0] === "5") to.serverErrors += rate;
  else if (protocol === "http" && code[0] === "4") to.clientErrors += rate;
  else if (protocol === "grpc" && code !== "0") to.grpcErrors += rate;
}

function addAll(to, from) { for (const k of Object.keys(to)) to[k] += from[k]; }

const rules = [["5XX", /^5/, 0, 10], ["4XX", /^4/, 10, 20]];

const NA = { status: "NA", notEnoughData: false, reason: null };

/** A verdict by Kiali's default rules, with Wilson's interval. */
export function verdict(protocol, direction, responses, window) {
  const all = responses.reduce((s, r) => s + r.rate, 0) * window;
  if (protocol === "tcp" || all === 0) return NA;
  let found = null;
  for (const [code, pattern, degraded, failure] of rules) {
    const errors = responses.filter((r) => pattern.test(r.code)).reduce((s, r) => s + r.rate, 0) * window;
    const share = errors / all;
    const z2 = 1.96 ** 2;
    const spread = 1.96 * Math.sqrt((share * (1 - share)) / all + z2 / (4 * all * all));
    const interval = { low: Math.max(0, ((share + z2 / (2 * all) - spread) / (1 + z2 / all)) * 100), high: Math.min(100, ((share + z2 / (2 * all) + spread) / (1 + z2 / all)) * 100) };
    const of = (p) => (p >= failure ? "Failure" : p > degraded ? "Degraded" : "Healthy");
    const status = errors === 0 ? "Healthy" : errors >= 2 || all >= 100 ? of(interval.low) : "Healthy";
    const reason = { tolerance: { code, protocol, direction, degraded, failure }, protocol, direction, errors: Math.round(errors), all: Math.round(all), percent: share * 100, interval, ifCertain: of(share * 100) };
    if (!found || (errors > 0 && found.status === "Healthy")) found = { status, notEnoughData: errors > 0 && status === "Healthy", reason };
  }
  return found;
}

/** Of a mesh of its own one graph is made for each hour, so that who measures the page does not measure this server. */
export function graphOf(world, options, traces) {
  if (!world.kept) return make(world, options, traces);
  const { at, ...rest } = options;
  const key = `${Math.floor(at / 3600)}${JSON.stringify(rest)}`;
  if (!world.kept.has(key)) world.kept.set(key, make(world, options, traces));
  return world.kept.get(key);
}

function make(world, options, traces = () => []) {
  const { graphType: type, inject, idle, namespaces, duration, at, rates = { http: "requests", grpc: "requests", tcp: "sent" } } = options;
  // Namespaces of another cluster.
  const of = (ns) => world.clusters[ns] ?? "local";
  const nodes = new Map();
  const edges = new Map();
  const wl = new Map(world.workloads.map((w) => [`${w.namespace}/${w.name}`, w]));
  const node = (key, kind, ns, fill) => { let n = nodes.get(key); if (!n) { n = blank(key, kind, ns, ns === "unknown" ? "unknown" : of(ns)); fill(n); nodes.set(key, n); } return n; };
  const ofWorkload = (name) => {
    if (!name) return node("local_unknown_source", "unknown", "unknown", (n) => { n.workload = n.app = n.version = "unknown"; n.root = true; });
    const w = wl.get(name);
    const fill = (n) => { n.app = w.app; n.labels = w.labels; n.outOfMesh = !w.sidecar; if (type !== "app") { n.workload = w.name; n.version = w.version; } };
    if (type === "workload" || type === "service") return node(`wl_${of(w.namespace)}_${w.namespace}_${w.name}`, "workload", w.namespace, fill);
    if (type === "versionedApp") return node(`vapp_${of(w.namespace)}_${w.namespace}_${w.name}`, "app", w.namespace, fill);
    return node(`app_${of(w.namespace)}_${w.namespace}_${w.app}`, "app", w.namespace, fill);
  };
  const ofService = (name) => {
    if (name.startsWith("entry:")) {
      const entry = world.entries.find((e) => `entry:${e.namespace}/${e.name}` === name);
      return node(`svc_${of(entry.namespace)}_${entry.namespace}_${entry.hosts[0]}`, "service", entry.namespace, (n) => { n.service = entry.hosts[0]; n.serviceEntry = { namespace: entry.namespace, name: entry.name, hosts: entry.hosts, internal: false }; });
    }
    const [ns, service] = name.split("/");
    if (ns === "*") return node(`svc_local_unknown_${service}`, "service", "unknown", (n) => { n.service = service; n.egress = service; });
    return node(`svc_${of(ns)}_${ns}_${service}`, "service", ns, (n) => { n.service = service; n.injected = true; if (service === "was-service") n.badges.circuitBreaker = true; });
  };
  const canary = world.chapter?.(at) === "canary";
  const edge = (source, target, f) => {
    if (source === target) return;
    const id = `${source.key}>${target.key}>${f.protocol}`;
    let e = edges.get(id);
    if (!e) edges.set(id, e = { source: source.key, target: target.key, protocol: f.protocol, unit: f.unit, rates: tally(), responses: [], security: null, responseTimes: null, throughput: null, health: null, examples: [], unmatched: [], hidden: false, weight: 0 });
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
  // A server's answers are made up to be three times what it was sent.
  const shares = { none: 0, requests: 1, sent: 1, received: 3, total: 4 };
  for (const flow of world.flows(at)) {
    const counted = rates[flow.protocol];
    if (counted === "none") continue;
    const f = { ...flow, rate: flow.rate * shares[counted], unit: flow.protocol === "tcp" ? "bytes" : counted === "requests" ? "requests" : "messages" };
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
  if (idle && type !== "service") for (const w of world.workloads) if (wanted(w.namespace)) { const n = ofWorkload(`${w.namespace}/${w.name}`); n.idle = w.idle ?? (world.flows(at).some((f) => f.to === `${w.namespace}/${w.name}` || f.from === `${w.namespace}/${w.name}`) ? null : { why: "notInWindow", lastSeen: at - 3 * 3600 }); }
  for (const e of edges.values()) {
    const [s, d] = [nodes.get(e.source), nodes.get(e.target)];
    addAll(s.traffic[e.protocol].outgoing, e.rates);
    addAll(d.traffic[e.protocol].incoming, e.rates);
    e.health = { verdict: verdict(e.protocol, "inbound", e.responses, duration), kiali: "NA" };
    e.examples = e.rates.serverErrors > 0 ? traces(at) : [];
    delete e.weight;
  }
  const arriving = new Map();
  const sources = new Set();
  for (const e of edges.values()) { (arriving.get(e.target) ?? arriving.set(e.target, []).get(e.target)).push(e); sources.add(e.source); }
  for (const n of nodes.values()) {
    const into = arriving.get(n.key) ?? [];
    n.root ||= into.length === 0 && sources.has(n.key);
    n.outside = namespaces.length > 0 && !namespaces.includes(n.namespace);
    const responses = into.filter((e) => e.protocol !== "tcp").flatMap((e) => e.responses);
    const said = verdict("http", "inbound", responses, duration);
    n.health = { verdict: said, status: said.status, workloads: [] };
    n.examples = responses.some((r) => r.code[0] === "5") ? traces(at) : [];
    if (n.kind === "workload" || (n.kind === "app" && n.workload)) {
      const w = wl.get(`${n.namespace}/${n.workload}`);
      if (w) n.health.workloads = [{ name: w.name, desired: w.replicas, current: w.replicas, available: w.replicas, syncedProxies: w.sidecar ? w.replicas : -1 }];
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
