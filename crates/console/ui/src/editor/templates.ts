// Where a new object begins: the smallest that means something, for each kind of Istio's API that people write by hand.
import { type Plain, toYaml } from "../wizards/yaml.ts";

const make = (api: string, kind: string, name: string, spec: Plain) => (namespace: string): string =>
  toYaml({ apiVersion: api, kind, metadata: { name, namespace }, spec });

const networking = "networking.istio.io/v1";
const security = "security.istio.io/v1";
const gateway = "gateway.networking.k8s.io/v1";

export const templates: Record<string, (namespace: string) => string> = {
  AuthorizationPolicy: make(security, "AuthorizationPolicy", "allow", { selector: { matchLabels: { app: "my-app" } }, action: "ALLOW", rules: [{ from: [{ source: { principals: ["cluster.local/ns/NAMESPACE/sa/NAME"] } }] }] }),
  DestinationRule: make(networking, "DestinationRule", "my-service", { host: "my-service", trafficPolicy: { connectionPool: { http: { http1MaxPendingRequests: 100 } } } }),
  Gateway: make(networking, "Gateway", "my-gateway", { selector: { istio: "ingressgateway" }, servers: [{ port: { number: 80, name: "http", protocol: "HTTP" }, hosts: ["example.com"] }] }),
  HTTPRoute: make(gateway, "HTTPRoute", "my-route", { parentRefs: [{ name: "my-gateway" }], rules: [{ backendRefs: [{ name: "my-service", port: 8080 }] }] }),
  PeerAuthentication: make(security, "PeerAuthentication", "default", { mtls: { mode: "STRICT" } }),
  RequestAuthentication: make(security, "RequestAuthentication", "jwt", { selector: { matchLabels: { app: "my-app" } }, jwtRules: [{ issuer: "https://issuer.example.com", jwksUri: "https://issuer.example.com/jwks.json" }] }),
  ServiceEntry: make(networking, "ServiceEntry", "external", { hosts: ["api.example.com"], location: "MESH_EXTERNAL", ports: [{ number: 443, name: "tls", protocol: "TLS" }], resolution: "DNS" }),
  Sidecar: make(networking, "Sidecar", "default", { egress: [{ hosts: ["./*", "istio-system/*"] }] }),
  VirtualService: make(networking, "VirtualService", "my-service", { hosts: ["my-service"], http: [{ route: [{ destination: { host: "my-service" } }] }] }),
};
