// Small graphs for tests.
import type { Badges, Edge, HealthStatus, Node } from "../../src/api/types.ts";
import { edgeId, emptyTally, type GraphModel } from "../../src/graph/model.ts";

const none: Badges = {
  circuitBreaker: false, faultInjection: false, mirroring: false, requestRouting: false, requestTimeout: false, tcpTrafficShifting: false,
  trafficShifting: false, virtualService: null, workloadEntries: [], gateway: null, ingressWaypoint: false, gatewayApi: false,
};

export function node(key: string, more: Partial<Omit<Node, "badges">> & { badges?: Partial<Badges> } = {}): Node {
  const inOut = (): { incoming: ReturnType<typeof emptyTally>; outgoing: ReturnType<typeof emptyTally> } => ({ incoming: emptyTally(), outgoing: emptyTally() });
  return {
    key, kind: "workload", cluster: "c", namespace: "ns", workload: key, app: key, version: "", service: "", aggregate: null,
    traffic: { http: inOut(), grpc: inOut(), tcp: inOut() }, services: [], labels: {}, ambient: false, dead: false, inaccessible: false,
    injected: false, outOfMesh: false, outside: false, root: false, waypoint: false, egress: null, idle: null, serviceEntry: null, health: null, examples: [],
    ...more, badges: { ...none, ...more.badges },
  };
}

export function edge(source: string, target: string, o: { rate?: number; errors?: number; mtls?: number; time?: number; protocol?: Edge["protocol"]; status?: HealthStatus } = {}): Edge {
  const { rate = 1, errors = 0, mtls = 0, time, protocol = "http", status } = o;
  return {
    source, target, protocol, unit: protocol === "tcp" ? "bytes" : "requests", rates: { ...emptyTally(), total: rate, serverErrors: errors }, responses: [],
    security: { mtls, sourcePrincipal: null, destinationPrincipal: null, morePrincipals: false },
    responseTimes: time === undefined ? null : { avg: time, p50: time, p95: time, p99: time }, throughput: null,
    health: status ? { verdict: { status, notEnoughData: false, reason: null } } : null, examples: [], unmatched: [], hidden: false,
  };
}

export const model = (nodes: Node[], edges: Edge[]): GraphModel =>
  ({ graphType: "workload", timestamp: 0, duration: 600, nodes: new Map(nodes.map((n) => [n.key, n])), edges: new Map(edges.map((e) => [edgeId(e), e])) });
