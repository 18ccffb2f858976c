// Why a request goes where it goes: of web calling was, in the chapter of the time that is asked about.
import { failure } from "./failure.mjs";
import { make } from "./tracing.mjs";

const ref = (group, kind, name, line, version = "v1") => ({ group, version, kind, namespace: "blog-system", name, line });

export function explain(world, body) {
  const second = body.traceId ? parseInt(body.traceId.slice(8), 16) : body.at ?? Date.now() / 1000;
  const chapter = world.chapter(second);
  const trace = body.traceId ? make(world, second) : null;
  if (body.from && !world.byName.has(`${body.from.namespace}/${body.from.workload}`)) throw failure(404, "notFound", `There is no workload ${body.from.workload} in ${body.from.namespace}.`, "Name it NAMESPACE/WORKLOAD.");
  const canary = body.to?.headers?.["x-canary-test"] === "true" && body.to.host.startsWith("web-service");
  const wrongHost = chapter === "passthrough" || (body.to && !/was-service|web-service|notify/.test(body.to.host));
  const host = trace ? (chapter === "passthrough" ? "blog.jiminhome.shop" : "was-service") : body.to.host;
  const path = trace?.path ?? body.to.path;
  const failed = trace?.status === "503";
  const out = { proxy: { namespace: "blog-system", workload: body.from?.workload || "web", direction: "outbound" }, steps: [
    { step: "listener", chosen: "0.0.0.0_8080", because: "The connection went to 10.96.114.27:8080; port 8080 carries HTTP.", by: null, rejected: [], ok: true },
    ...(wrongHost ? [
      { step: "virtualHost", chosen: "allow_any", because: `No virtual host of port 8080 has the domain ${host}.`, by: null, rejected: [{ what: "was-service.blog-system.svc.cluster.local:8080", why: `its domains are was-service, was-service.blog-system, …; Host is ${host}` }, { what: "audit.platform.svc.cluster.local:8080", why: "its domains are audit.platform, …" }], ok: false },
      { step: "cluster", chosen: "PassthroughCluster", because: "outboundTrafficPolicy is ALLOW_ANY: what no service matches goes to the address that was dialled, in plain text. A ServiceEntry gives it a name:\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: outside\n  namespace: blog-system\nspec:\n  hosts:\n  - blog.jiminhome.shop\n", by: null, rejected: [], ok: false },
    ] : [
      { step: "virtualHost", chosen: "was-service.blog-system.svc.cluster.local:8080", because: `Host ${host} is a name of this service in namespace blog-system.`, by: null, rejected: [{ what: "allow_any", why: "a service matched" }], ok: true },
      canary ? { step: "route", chosen: "canary-testing", because: "Its match asks for header x-canary-test: true.", by: ref("networking.istio.io", "VirtualService", "web-vsvc", 9), rejected: [{ what: "primary", why: "canary-testing stands before it and matches" }], ok: true } :
      { step: "route", chosen: "default", because: "No VirtualService of was-service applies to this proxy.", by: null, rejected: [], ok: true },
      { step: "cluster", chosen: "outbound|8080||was-service.blog-system.svc.cluster.local", because: "The route's destination, without a subset.", by: null, rejected: [], ok: true },
      { step: "endpoint", chosen: failed ? "none" : "10.244.0.17:8080 (was-6b8f-qq2lp)", because: failed ? "Refused before an endpoint was chosen: one request waits already, and http1MaxPendingRequests is 1." : "ROUND_ROBIN over 3 healthy endpoints.", by: ref("networking.istio.io", "DestinationRule", "was-dest-rule", failed ? 12 : 15), rejected: [{ what: "10.244.0.18:8080", why: "not its turn" }, { what: "10.244.0.21:8080", why: "not its turn" }], ok: !failed },
      ...(failed ? [] : [{ step: "tls", chosen: "ISTIO_MUTUAL, as spiffe://cluster.local/ns/blog-system/sa/web", because: "The DestinationRule asks for mTLS, and the endpoint has a sidecar.", by: ref("networking.istio.io", "DestinationRule", "was-dest-rule", 8), rejected: [], ok: true }]),
    ])] };
  const into = { proxy: { namespace: "blog-system", workload: "was", direction: "inbound" }, steps: [
    { step: "tls", chosen: wrongHost ? "plain text" : "mTLS", because: wrongHost ? "PERMISSIVE lets plain text in." : "The client shows a certificate of the mesh.", by: ref("security.istio.io", "PeerAuthentication", "default", 7), rejected: [], ok: true },
    { step: "authorization", chosen: wrongHost ? "denied" : "allowed", because: wrongHost ? "The ALLOW policy names a principal, and plain text has none." : "Rule 1 matches: principal …/sa/web, port 8080, path /api/*.", by: ref("security.istio.io", "AuthorizationPolicy", "was-authz", 11), rejected: [], ok: !wrongHost },
    ...(wrongHost ? [] : [{ step: "cluster", chosen: "inbound|8080||", because: "The port of the container.", by: null, rejected: [], ok: true }])] };
  return {
    request: { method: body.to?.method ?? "GET", host, path },
    verdict: wrongHost ? `Passed through to 10.96.114.27:8080 in plain text: no service of the mesh answers to Host ${host}.` : failed ? "503 UO: the circuit breaker of was-dest-rule refused it before it left web." : "Answered 200 by was-6b8f-qq2lp over mTLS.",
    podsOfNow: false,
    outcome: wrongHost ? "passthrough" : failed ? "failed" : "ok",
    hops: failed ? [out] : [out, into],
  };
}
