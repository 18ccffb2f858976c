// Serves dist and the answers of the contract, for development and tests. It holds no data but what it makes up, and says
// the same whenever it is asked about the same moment.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { extname, join, normalize } from "node:path";
import { createWorld, largeMesh, wideMesh } from "./world.mjs";
import { answer, graphOf } from "./graph.mjs";
import { queryRange } from "./prometheus.mjs";
import * as tracing from "./tracing.mjs";
import { createConfig } from "./config.mjs";
import * as lists from "./lists.mjs";
import { logs } from "./logs.mjs";
import { explain } from "./explain.mjs";
import { createAccess } from "./access.mjs";
import { failure } from "./failure.mjs";
import { mesh } from "./mesh.mjs";
import { stream } from "./stream.mjs";

const dist = fileURLToPath(new URL("../dist", import.meta.url));
const types = { ".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml" };

/** Scenarios that are meshes of their own. */
const meshes = { large: () => largeMesh(), wide: () => wideMesh() };

export async function serve({ port = 0, scenario = "story", readOnly = false, mode = "anonymous", mustSignIn = false, interval = 2 } = {}) {
  const world = createWorld({ scenario: scenario in meshes ? "healthy" : scenario, large: meshes[scenario]?.() ?? null });
  const context = { world, config: createConfig(world), access: createAccess({ mode, mustSignIn, readOnly }), interval, now: () => Date.now() / 1000 };
  const streams = new Set();
  const server = createServer((request, response) => {
    handle(context, streams, request, response).catch((error) => {
      const status = error.status ?? 500;
      send(response, status, { code: error.code ?? "unavailable", message: error.message, hint: error.hint ?? "", findings: error.findings });
      if (status === 500) console.error(error);
    });
  });
  await new Promise((done) => server.listen(port, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    context,
    /** Breaks the streams, as a restart would. */
    dropStreams: () => { for (const s of streams) s.destroy(); },
    close: () => new Promise((done) => { for (const s of streams) s.destroy(); server.close(done); server.closeAllConnections(); }),
  };
}

function send(response, status, body, type = "application/json") {
  response.writeHead(status, { "content-type": type, "cache-control": "no-store" });
  response.end(type === "application/json" ? JSON.stringify(body) : body);
}

export function graphOptions(query, at) {
  return {
    graphType: query.get("graphType") ?? "versionedApp", inject: query.get("injectServiceNodes") === "true", idle: query.get("includeIdleEdges") === "true",
    rates: { http: query.get("rateHttp") || "requests", grpc: query.get("rateGrpc") || "requests", tcp: query.get("rateTcp") || "sent" },
    namespaces: (query.get("namespaces") ?? "").split(",").filter(Boolean), duration: Number(query.get("duration") ?? 600), at: Number(query.get("at") ?? at),
  };
}

async function handle(context, streams, request, response) {
  const url = new URL(request.url, "http://mock");
  const path = url.pathname;
  const q = url.searchParams;
  const at = Number(q.get("at")) || context.now();
  const { world, config } = context;
  const body = request.method === "POST" ? JSON.parse(await text(request)) : null;
  if (path.startsWith("/api/") || path.startsWith("/console/api/")) context.access.check(request, path.replace(/^\/console\/api\/(\w+).*/, "$1"));
  if (path === "/api/v1/query_range") return send(response, 200, queryRange(world, q.get("query"), Number(q.get("start")), Number(q.get("end")), Number(q.get("step"))));
  if (path === "/api/services") return send(response, 200, tracing.services(world));
  if (path.startsWith("/api/services/")) return send(response, 200, tracing.operations());
  if (path === "/api/traces") return send(response, 200, tracing.search(world, q, context.now()));
  if (path.startsWith("/api/traces/")) return send(response, ...tracing.one(world, path.slice(12)));
  if (!path.startsWith("/console/api/")) return file(response, path);
  const parts = path.slice("/console/api/".length).split("/").map(decodeURIComponent);
  switch (parts[0]) {
    case "info": return send(response, 200, lists.info(context, request));
    case "login": return parts[1] === "oidc" ? context.access.provider(q, response) : send(response, 200, context.access.login(body, response));
    case "logout": return send(response, 200, context.access.logout(response));
    case "graph": { const o = graphOptions(q, at); return send(response, 200, answer(graphOf(world, o, (t) => tracing.examples(world, t)), o)); }
    case "stream": return stream(context, streams, q, request, response);
    case "changes": return send(response, 200, config.changes(Number(q.get("from")), Number(q.get("to"))));
    case "workloads": return send(response, 200, lists.workloads(context, q, at));
    case "services": return send(response, 200, lists.services(context, q, at));
    case "applications": return send(response, 200, lists.applications(context, q, at));
    case "config": return send(response, 200, parts[1] ? config.object(parts[1], parts[2], parts[3], at) : config.list(q, at));
    case "validate": return send(response, 200, { findings: config.validate(body.yaml) });
    case "apply": return send(response, 200, apply(context, request, body));
    case "delete": return send(response, 200, remove(context, request, body));
    case "logs": return send(response, 200, logs(world, q, Number(q.get("to")) || context.now()));
    case "explain": return send(response, 200, explain(world, body));
    case "mesh": return send(response, 200, mesh(context, at));
    default: throw failure(404, "notFound", `Nothing answers at ${path}.`);
  }
}

function apply(context, request, body) {
  if (context.access.of(request).readOnly && !body.dryRun) throw failure(403, "readOnly", "This console is read-only.", "Apply the YAML with kubectl instead.");
  return context.config.apply(body, context.now(), (ref) => context.access.may(request, ref));
}

function remove(context, request, body) {
  if (context.access.of(request).readOnly && !body.dryRun) throw failure(403, "readOnly", "This console is read-only.", "Delete the object with kubectl instead.");
  return context.config.delete(body, context.now(), (ref, verb) => context.access.may(request, ref, verb));
}

async function text(request) {
  let all = "";
  for await (const part of request) all += part;
  return all;
}

async function file(response, path) {
  if (path === "/") { response.writeHead(302, { location: "/console/" }); return response.end(); }
  const inside = normalize(path.replace(/^\/console\/?/, "")) || "index.html";
  const name = extname(inside) ? inside : "index.html";
  try {
    const data = await readFile(join(dist, name));
    // Nothing from elsewhere is ever loaded: the browser is told to refuse it.
    response.writeHead(200, { "content-type": types[extname(name)] ?? "application/octet-stream", "content-security-policy": "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; base-uri 'self'; frame-ancestors 'none'" });
    response.end(data);
  } catch { send(response, 404, "not found", "text/plain"); }
}
