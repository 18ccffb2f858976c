// Why a request goes where it goes: of web calling was, in the chapter of the time that is asked about.
import { failure } from "./failure.mjs";
import { make } from "./tracing.mjs";

const ref = (group, kind, name, line, version = "v1") => ({ group, version, kind, namespace: "blog-system", name, line });

export function explain(world, body) {
  const second = body.traceId ? parseInt(body.traceId.slice(8), 16) : body.at ?? Date.now() / 1000;
  const chapter = world.chapter(second);
  const trace = body.traceId ? make(world, second) : null;
  if (body.from && !world.byName.has(`${body.from.namespace}/${body.from.workload}`)) throw failure(404, "notFound", `There is no workload ${body.from.namespace}/${body.from.workload} with a pod that runs: nobody to ask on behalf of.`);
  const canary = body.to?.headers?.["x-canary-test"] === "true" && body.to.host.startsWith("web-service");
  const wrongHost = chapter === "passthrough" || (body.to && !/was-service|web-service|notify/.test(body.to.host));
  const host = trace ? (chapter === "passthrough" ? "blog.jiminhome.shop" : "was-service") : body.to.host;
  const path = trace?.path ?? body.to.path;
  const failed = trace?.status === "503";
  const was = "was-service.blog-system.svc.cluster.local";
  const cluster = `outbound|8080||${was}`;
  const step = (name, chosen, because, more = {}) => ({ step: name, chosen, because, by: null, rejected: [], ok: true, ...more });
  const rule = ref("networking.istio.io", "DestinationRule", "was-dest-rule", failed ? 12 : 15);
  const full = "the connection pool was full: as many connections or requests were under way as its limits (connectionPool) allow";
  const listener = step("listener", "10.96.114.27_8080", "original destination 10.96.114.27:8080: listener 10.96.114.27_8080");
  const publicHost = `${host} is a host of Ingress blog-system/blog-ingress, for clients outside: whoever passed the request on kept its Host header (in nginx: proxy_set_header Host $host)`;
  const nowhere = /jiminhome/.test(host) ? `${publicHost}; probably Service blog-system/was-service is meant: ask for ${was}. To mend it: send the Host of the service and not that of the client: in nginx proxy_set_header Host ${was};`
    : `nothing is registered as ${host}; a ServiceEntry would name it in metrics, routes and policies. To mend it: register it:\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata:\n  name: outside\n  namespace: blog-system\nspec:\n  hosts:\n  - ${host}\n`;
  const out = { proxy: { namespace: "blog-system", workload: body.from?.workload || "web", direction: "outbound" }, steps: [
    listener,
    ...(wrongHost ? [
      step("virtualHost", "allow_any", `Host ${host}: virtual host allow_any of route table 8080: no service that this workload sees has that name on this port`),
      step("route", "PassthroughCluster", "what the mesh does with hosts that it does not know (outboundTrafficPolicy)"),
      step("passthrough", "PassthroughCluster", nowhere),
      step("endpoint", "10.244.0.17:8080 (was-6b8f-qq2lp)", `the node chooses among the endpoints of ${was}`),
      step("tls", "plain text", "what is passed on is passed on as it is"),
    ] : [
      step("virtualHost", `${was}:8080`, `Host ${host}: virtual host ${was}:8080 of route table 8080`),
      canary ? step("route", "outbound|80|canary|web-service.blog-system.svc.cluster.local", "the first rule that matches: VirtualService blog-system/web-vsvc spec.http[0]", { by: ref("networking.istio.io", "VirtualService", "web-vsvc", 9) })
        : step("route", cluster, "no VirtualService says anything for this host: every request goes to the service", { rejected: [{ what: "VirtualService blog-system/web-vsvc spec.http[0]", why: "there is no header x-canary-test, asked for is exactly \"true\"" }] }),
      step("retry", "no timeout, up to 2 retries", "tried again after connect-failure, refused-stream, unavailable, cancelled, 503"),
      step("cluster", cluster, `port 8080 of ${was}, as DestinationRule blog-system/was-dest-rule says`, { by: rule }),
      step("endpoint", "10.244.0.17:8080 (was-6b8f-qq2lp)", "one of 3 that take requests, chosen by load", { rejected: ["10.244.0.18:8080", "10.244.0.21:8080"].map((what) => ({ what, why: "another one that takes requests: which one it is changes from request to request" })) }),
      step("tls", "mutual TLS of the mesh", "the endpoint has a sidecar (automatic mutual TLS); shown is spiffe://cluster.local/ns/blog-system/sa/web"),
      ...(failed ? [step("recorded", `503 UO (overflow) by ${cluster}`, `${full}: configuration lets it through, and does not decide that alone`, { ok: false })] : []),
    ])] };
  const rejected = [{ what: "ns[blog-system]-policy[was-authz]-rule[0]", why: "the caller showed no certificate (plain text, or TLS without one) and so has no identity, asked for is \"cluster.local/ns/blog-system/sa/web\"" }];
  const into = { proxy: { namespace: "blog-system", workload: "was", direction: "inbound" }, steps: [
    step("listener", "virtualInbound, chain virtualInbound-catchall-http", "filter chain virtualInbound-catchall-http of listener virtualInbound"),
    step("peerAuthentication", "PERMISSIVE", `the port takes plain text and mutual TLS; this is ${wrongHost ? "plain text" : "mutual TLS"}`, { by: ref("security.istio.io", "PeerAuthentication", "default", 7) }),
    wrongHost ? step("tls", "no identity", "plain text: policies on identities and namespaces match nobody")
      : step("tls", "spiffe://cluster.local/ns/blog-system/sa/web", "the client's certificate, verified by the mesh's root"),
    wrongHost ? step("authorization", "denied (ALLOW)", `there are ALLOW policies and none of their rules matches (${rejected[0].what}: ${rejected[0].why})`, { by: ref("security.istio.io", "AuthorizationPolicy", "was-authz", 11), rejected, ok: false })
      : step("authorization", "allowed (ALLOW)", "rule ns[blog-system]-policy[was-authz]-rule[0] matches", { by: ref("security.istio.io", "AuthorizationPolicy", "was-authz", 11) }),
    ...(wrongHost ? [] : [step("endpoint", "was-6b8f-qq2lp", "inbound|8080||: the application of this pod")])] };
  const denied = `was answers 403, denied by AuthorizationPolicy blog-system/was-authz: ${into.steps.at(3).because}. It is passed on to where it was dialled; no route, no retry, no policy of the client's side and no mutual TLS apply: ${nowhere}`;
  return {
    request: { method: body.to?.method ?? "GET", host, path },
    verdict: wrongHost ? denied : failed ? `The client got 503. Configuration lets it through, and then ${full} (at web, UO).` : "It reaches was-6b8f-qq2lp of blog-system over mutual TLS.",
    podsOfNow: false,
    outcome: wrongHost ? "denied" : failed ? "failed" : "ok",
    hops: failed ? [out] : [out, into],
  };
}
