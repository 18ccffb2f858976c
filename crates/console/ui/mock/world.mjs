// The world that the mock server tells of: the blog system over the last hours, as plain functions of time.
//
// Story, in minutes before the server started: until -50 the ingress calls was past web (mesh bypass); until -35 nginx sends
// the public Host, so that web's calls go to PassthroughCluster; at -14 was overflows and answers 503 until -8; at -6 a canary
// of web gets a tenth. Scenarios `errors` and `passthrough` keep one chapter for ever.

const MINUTE = 60;

/** A number between 0 and 1 that depends on its arguments alone. */
export function noise(...parts) {
  let h = 2166136261;
  for (const c of parts.join("/")) h = Math.imul(h ^ c.charCodeAt(0), 16777619);
  h ^= h >>> 15; h = Math.imul(h, 2246822519); h ^= h >>> 13;
  return (h >>> 0) / 4294967296;
}

export const workload = (namespace, name, more = {}) => ({ namespace, name, app: name, version: "v1", sidecar: true, replicas: 2, labels: {}, ...more });

const blogWorkloads = [
  workload("ingress-nginx", "ingress-nginx-controller", { app: "ingress-nginx", version: "", sidecar: false, replicas: 1 }),
  workload("blog-system", "web", { labels: { tier: "frontend" } }),
  workload("blog-system", "web-canary", { app: "web", version: "v2", replicas: 1, labels: { tier: "frontend" } }),
  workload("blog-system", "was", { labels: { tier: "backend" }, replicas: 3 }),
  workload("blog-system", "mysql", { version: "", sidecar: false, replicas: 1, labels: { tier: "database" } }),
  workload("blog-system", "report", { replicas: 0, idle: { why: "scaledToZero" } }),
  workload("platform", "notify", { replicas: 2 }),
  workload("platform", "audit", { idle: { why: "neverSeen" } }),
];

const service = (namespace, name, port, protocol, selector) => ({ namespace, name, port, protocol, selector });
const blogServices = [
  service("blog-system", "web-service", 80, "http", { app: "web" }),
  service("blog-system", "was-service", 8080, "http", { app: "was" }),
  service("blog-system", "mysql", 3306, "tcp", { app: "mysql" }),
  service("platform", "notify", 9000, "grpc", { app: "notify" }),
  service("platform", "audit", 8080, "http", { app: "audit" }),
];

export function createWorld({ scenario = "story", start = Math.floor(Date.now() / 1000), large = null } = {}) {
  const chapter = (at) => {
    if (scenario !== "story") return scenario;
    const minutes = (at - start) / MINUTE;
    if (minutes < -50) return "bypass";
    if (minutes < -35) return "passthrough";
    if (minutes >= -14 && minutes < -8) return "errors";
    return minutes >= -6 ? "canary" : "healthy";
  };
  const wave = (at, name, size) => size * (1 + 0.18 * Math.sin(at / 97 + name.length) + 0.09 * Math.sin(at / 23 + name.length * 2) + 0.06 * (noise(name, Math.floor(at / 5)) - 0.5));
  return {
    start, scenario, chapter,
    clusters: scenario === "clusters" ? { platform: "west" } : {},
    kept: large ? new Map() : null,
    workloads: large ? large.workloads : blogWorkloads,
    byName: new Map((large ? large.workloads : blogWorkloads).map((w) => [`${w.namespace}/${w.name}`, w])),
    services: large ? large.services : blogServices,
    entries: large ? [] : [{ namespace: "platform", name: "slack", hosts: ["hooks.slack.com"] }],
    flows: (at) => (large ? large.flows(at) : blogFlows(chapter(at), (name, size) => wave(at, name, size))),
  };
}

/** Who calls whom: rates a second, answers, times in milliseconds. */
function blogFlows(chapter, wave) {
  const users = wave("users", 42);
  const api = users * 0.62;
  const errors = chapter === "errors" ? 0.22 : 0;
  const slow = chapter === "errors" ? 3.4 : 1;
  const ok = (host) => [{ code: "200", flags: "", host, share: 1 }];
  const failing = (host) => [{ code: "200", flags: "", host, share: 1 - errors }, { code: "503", flags: "UO", host, share: errors * 0.7 }, { code: "503", flags: "URX", host, share: errors * 0.3 }];
  const was = (host) => (errors ? failing(host) : ok(host));
  const principal = (ns, name) => `spiffe://cluster.local/ns/${ns}/sa/${name}`;
  const flows = [];
  const push = (f) => flows.push({ protocol: "http", mtls: 0, times: [12, 40, 90], bytes: [900, 14_000], principals: [null, null], unmatched: [], ...f });
  const canary = chapter === "canary" ? 0.1 : 0;
  const blog = "blog.jiminhome.shop";
  const toWeb = chapter === "bypass" ? users * 0.38 : users;
  push({ from: "ingress-nginx/ingress-nginx-controller", service: "blog-system/web-service", to: "blog-system/web", rate: toWeb * (1 - canary), responses: errors ? [{ code: "200", flags: "", host: blog, share: 1 - errors * 0.62 }, { code: "503", flags: "", host: blog, share: errors * 0.62 }] : ok(blog), times: [18 * slow, 64 * slow, 140 * slow] });
  if (canary) push({ from: "ingress-nginx/ingress-nginx-controller", service: "blog-system/web-service", to: "blog-system/web-canary", rate: toWeb * canary, responses: ok(blog), times: [15, 52, 110] });
  if (chapter === "bypass") {
    push({ from: "ingress-nginx/ingress-nginx-controller", service: "blog-system/was-service", to: "blog-system/was", rate: api, responses: ok(blog), times: [22, 88, 210] });
  } else if (chapter === "passthrough") {
    push({ from: "blog-system/web", service: "*/PassthroughCluster", to: null, rate: api, responses: ok(blog), times: [24, 92, 220], unmatched: [{
      host: blog, address: "10.96.114.27", port: 8080, rate: api, reason: { code: "publicHost", resource: "Ingress blog-system/blog-ingress" },
      meant: { kind: "Service", namespace: "blog-system", name: "was-service", host: "was-service.blog-system.svc.cluster.local" }, arrived: { namespace: "blog-system", workload: "was", service: "was-service" },
      message: `${blog} is a host of Ingress blog-system/blog-ingress, for clients outside`, yaml: null },
    { host: "fonts.example.com", address: "203.0.113.9", port: 443, rate: 0.2, reason: { code: "notRegistered" }, meant: null, arrived: null, message: "Nothing is registered as fonts.example.com.",
      yaml: "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: fonts-example-com\n  namespace: blog-system\nspec:\n  hosts:\n  - fonts.example.com\n  location: MESH_EXTERNAL\n  ports:\n  - number: 443\n    name: tls\n    protocol: TLS\n  resolution: DNS\n" }] });
    push({ from: null, service: "blog-system/was-service", to: "blog-system/was", rate: api, responses: ok(blog), times: [22, 88, 210] });
  } else {
    push({ from: "blog-system/web", service: "blog-system/was-service", to: "blog-system/was", rate: api * (1 - canary), responses: was("was-service"), mtls: 1, principals: [principal("blog-system", "web"), principal("blog-system", "was")], times: [21 * slow, 83 * slow, 190 * slow] });
    if (canary) push({ from: "blog-system/web-canary", service: "blog-system/was-service", to: "blog-system/was", rate: api * canary, responses: ok("was-service"), mtls: 1, principals: [principal("blog-system", "web"), principal("blog-system", "was")], times: [20, 71, 150] });
  }
  push({ from: "blog-system/was", service: "blog-system/mysql", to: "blog-system/mysql", protocol: "tcp", rate: api * 2100, responses: [], times: null });
  push({ from: "blog-system/was", service: "platform/notify", to: "platform/notify", protocol: "grpc", rate: wave("notify", 3.2), responses: [{ code: "0", flags: "", host: "notify.platform", share: 1 }], mtls: 1, principals: [principal("blog-system", "was"), principal("platform", "notify")], times: [3.1, 7.4, 12] });
  push({ from: "platform/notify", service: "entry:platform/slack", to: null, protocol: "tcp", rate: wave("slack", 1900), responses: [], times: null });
  return flows;
}

/** A mesh of about 2,000 nodes in 40 namespaces, with layers as real ones have. */
export function largeMesh(count = 2000, groups = 40) {
  const workloads = [];
  const services = [];
  const links = [];
  const per = Math.floor(count / groups);
  for (let g = 0; g < groups; g++) {
    const ns = `team-${String(g).padStart(2, "0")}`;
    for (let i = 0; i < per; i++) {
      const name = `${["api", "orders", "stock", "mail", "search", "auth", "feed", "ledger"][i % 8]}-${i}`;
      workloads.push(workload(ns, name));
      services.push(service(ns, name, 8080, "http", { app: name }));
      const layer = Math.floor((i / per) * 5);
      const calls = layer === 4 ? 0 : 1 + Math.floor(noise(ns, i) * 2.2);
      for (let c = 0; c < calls; c++) {
        const other = noise(ns, i, c) < 0.12;
        const tg = other ? Math.floor(noise(ns, i, c, "g") * groups) : g;
        const from = Math.floor(((layer + 1) / 5) * per);
        const to = from + Math.floor(noise(ns, i, c, "t") * (per - from));
        if (to < per) links.push([g * per + i, tg * per + to]);
      }
    }
  }
  return { workloads, services, flows: flowsOf(workloads, links) };
}

/** A mesh in which many call many: 500 workloads in 20 namespaces, 5,000 different calls. */
export function wideMesh(count = 500, calls = 5000, groups = 20) {
  const workloads = [];
  const services = [];
  for (let i = 0; i < count; i++) {
    const [ns, name] = [`area-${String(i % groups).padStart(2, "0")}`, `unit-${i}`];
    workloads.push(workload(ns, name));
    services.push(service(ns, name, 8080, "http", { app: name }));
  }
  const seen = new Set();
  for (let n = 0; seen.size < calls; n++) {
    const from = Math.floor(noise("from", n) * count);
    const to = Math.floor(noise("to", n) * count);
    // Forward only, as layers call each other.
    if (from < to) seen.add(from * count + to);
  }
  return { workloads, services, flows: flowsOf(workloads, [...seen].map((n) => [Math.floor(n / count), n % count])) };
}

/** All but the rate is the same at every time. */
function flowsOf(workloads, links) {
  const fixed = links.map(([a, b], i) => {
    const [s, d] = [workloads[a], workloads[b]];
    const bad = noise("bad", i) < 0.012 ? 0.15 : 0;
    const host = `${d.name}.${d.namespace}`;
    return {
      from: `${s.namespace}/${s.name}`, service: `${d.namespace}/${d.name}`, to: `${d.namespace}/${d.name}`, protocol: "http", mtls: noise("m", i) < 0.93 ? 1 : 0,
      rate: Math.pow(10, noise("r", i) * 2.4), bytes: [800, 6000], principals: [null, null], unmatched: [],
      times: [4 + 20 * noise("t", i), 30 + 90 * noise("t", i), 90 + 300 * noise("t", i)],
      responses: bad ? [{ code: "200", flags: "", host, share: 1 - bad }, { code: "500", flags: "", host, share: bad }] : [{ code: "200", flags: "", host, share: 1 }],
    };
  });
  return (at) => fixed.map((f, i) => ({ ...f, rate: f.rate * (1 + 0.2 * Math.sin(at / 31 + i)) }));
}
