// Traces in Jaeger's JSON, one every three seconds; the id holds the second, so that a trace is the same whenever it is asked for.
import { noise } from "./world.mjs";

const EVERY = 3;
const PREFIX = "5eedb106";
const idOf = (second) => PREFIX + second.toString(16).padStart(24, "0");
const secondOf = (id) => parseInt(id.slice(PREFIX.length), 16);

export function services() {
  const names = ["ingress-nginx-controller.ingress-nginx", "web.blog-system", "was.blog-system", "mysql.blog-system", "notify.platform"];
  return { data: names, total: names.length, limit: 0, offset: 0, errors: null };
}

export function operations() {
  return { data: ["GET /api/posts", "POST /api/posts", "GET /api/posts/{id}"], total: 3, limit: 0, offset: 0, errors: null };
}

/** Requests that failed shortly before a time, as examples of health. */
export function examples(world, at) {
  const found = [];
  for (let s = Math.floor(at / EVERY) * EVERY; s > at - 400 && found.length < 3; s -= EVERY) {
    const made = make(world, s);
    const bad = made.spans.find((x) => x.tags.some((g) => g.key === "http.status_code" && g.value === "503"));
    if (bad) found.push({ at: s, method: "GET", path: made.path, code: "503", flags: "UO", duration: bad.duration / 1000, traceId: made.traceID });
  }
  return found;
}

export function search(world, q, now) {
  const limit = Number(q.get("limit") ?? 20);
  const end = Math.floor(Number(q.get("end") ?? now * 1e6) / 1e6);
  const start = Math.floor(Number(q.get("start") ?? (end - 3600) * 1e6) / 1e6);
  const [least, most] = [micros(q.get("minDuration"), 0), micros(q.get("maxDuration"), Infinity)];
  const tags = JSON.parse(q.get("tags") ?? "{}");
  const wanted = q.get("traceID") ? q.getAll("traceID") : null;
  const data = [];
  if (wanted) for (const id of wanted) { const t = trace(world, id); if (t) data.push(t); }
  else {
    for (let s = Math.floor(end / EVERY) * EVERY; s >= start && data.length < limit; s -= EVERY) {
      const t = make(world, s);
      const root = t.spans[0];
      if (root.duration < least || root.duration > most) continue;
      if (q.get("service") && !t.spans.some((x) => t.processes[x.processID].serviceName === q.get("service"))) continue;
      if (q.get("operation") && !t.spans.some((x) => x.operationName === q.get("operation"))) continue;
      if (!Object.entries(tags).every(([k, v]) => t.spans.some((x) => x.tags.some((g) => g.key === k && String(g.value) === v)))) continue;
      data.push(t);
    }
  }
  return { data, total: data.length, limit, offset: 0, errors: null };
}

export function one(world, id) {
  const found = trace(world, id);
  if (!found) return [404, { data: null, total: 0, limit: 0, offset: 0, errors: [{ code: 404, msg: "trace not found", traceID: id }] }];
  return [200, { data: [found], total: 1, limit: 0, offset: 0, errors: null }];
}

const trace = (world, id) => (id.startsWith(PREFIX) && secondOf(id) <= Date.now() / 1000 + 5 ? make(world, secondOf(id)) : null);
const micros = (text, otherwise) => { const m = /^([\d.]+)(us|ms|s)$/.exec(text ?? ""); return m ? Number(m[1]) * { us: 1, ms: 1000, s: 1e6 }[m[2]] : otherwise; };

export function make(world, second) {
  const chapter = world.chapter(second);
  const n = (what) => noise("trace", second, what);
  const traceID = idOf(second);
  const slowQuery = n("slow") < 0.06;
  const failed = chapter === "errors" && n("fail") < 0.22;
  const path = n("path") < 0.6 ? "/api/posts" : `/api/posts/${Math.floor(n("id") * 90) + 10}`;
  const t0 = second * 1e6 + Math.floor(n("t") * 900_000);
  const spans = [];
  const processes = {};
  const span = (service, name, kind, parent, start, duration, tags = {}) => {
    const processID = Object.keys(processes).find((k) => processes[k].serviceName === service) ?? `p${Object.keys(processes).length + 1}`;
    processes[processID] ??= { serviceName: service, tags: [] };
    const spanID = (second * 64 + spans.length).toString(16).padStart(16, "0");
    const list = Object.entries({ "span.kind": kind, ...tags }).map(([key, value]) => ({ key, type: typeof value === "boolean" ? "bool" : "string", value }));
    spans.push({ traceID, spanID, operationName: name, references: parent ? [{ refType: "CHILD_OF", traceID, spanID: parent }] : [], startTime: Math.round(start), duration: Math.round(duration), tags: list, logs: [], processID, warnings: null, flags: 1 });
    return spanID;
  };
  const db = (slowQuery ? 1_900_000 + n("q") * 2_800_000 : 3000 + n("q") * 9000);
  const own = 4000 + n("own") * 14_000;
  const was = failed ? 400 : own + db + 2000;
  const proxy = 900 + n("p") * 600;
  const hops = chapter === "bypass" ? 1 : 2;
  const web = was + proxy * 4 + 3000;
  const total = (hops === 2 ? web : was) + proxy + 4000;
  const status = failed ? "503" : "200";
  const http = (extra) => ({ "http.method": "GET", "http.url": `http://blog.jiminhome.shop${path}`, "http.status_code": status, ...(failed ? { error: true } : {}), ...extra });
  const root = span("ingress-nginx-controller.ingress-nginx", `GET ${path}`, "server", null, t0, total, http({ upstream: "web-service.blog-system:80" }));
  let parent = root;
  let at = t0 + 2000;
  if (hops === 2) {
    const inbound = span("web.blog-system", "web-service.blog-system.svc.cluster.local:80/*", "server", root, at, web + proxy, http({ "istio.mesh_id": "cluster.local", upstream_cluster: "inbound|80||", response_flags: "-", "peer.identity": "-" }));
    const cluster = chapter === "passthrough" ? "PassthroughCluster" : "outbound|8080||was-service.blog-system.svc.cluster.local";
    parent = span("web.blog-system", chapter === "passthrough" ? "PassthroughCluster" : "was-service.blog-system.svc.cluster.local:8080/*", "client", inbound, at + proxy + 1500, was + proxy * 2, http({ upstream_cluster: cluster, response_flags: failed ? "UO" : "-", ...(chapter === "passthrough" ? { "http.host": "blog.jiminhome.shop" } : { "peer.identity": "spiffe://cluster.local/ns/blog-system/sa/was" }) }));
    at += proxy * 2 + 1500;
  }
  if (!failed) {
    const server = span("was.blog-system", "was-service.blog-system.svc.cluster.local:8080/*", "server", parent, at + 500, was, http({ upstream_cluster: "inbound|8080||", response_flags: "-", "peer.identity": hops === 2 && chapter !== "passthrough" ? "spiffe://cluster.local/ns/blog-system/sa/web" : "-" }));
    span("mysql.blog-system", "SELECT posts", "client", server, at + 500 + own * 0.4, db, { "db.system": "mysql", "db.statement": "SELECT id, title, body FROM posts ORDER BY created_at DESC LIMIT 20", upstream_cluster: "outbound|3306||mysql.blog-system.svc.cluster.local" });
    if (n("notify") < 0.5) span("notify.platform", "notify.Notify/Publish", "client", server, at + own * 0.5 + db, 2200 + n("n") * 3000, { "rpc.system": "grpc", "rpc.grpc.status_code": "0", upstream_cluster: "outbound|9000||notify.platform.svc.cluster.local" });
  }
  return { traceID, path, status, spans, processes, warnings: null };
}
