// Semantic zoom: a mesh of more nodes than a person can read is shown as its namespaces, and those that were opened as
// their apps or nodes, with the sums of the edges between. Pure.
import type { Badges, Edge, Health, HealthStatus, Node } from "../api/types.ts";
import { addTally, edgeId, emptyTally, type GraphModel, protocols, statusOf } from "./model.ts";

/** From so many nodes on, namespaces are closed unless they are opened. */
export const LIMIT = 250;

export const groupKey = (namespace: string): string => `ns:${namespace}`;
export const isGroup = (key: string): boolean => key.startsWith("ns:");

/** The graph with all namespaces closed but the opened ones; as it is where it is small or `all` is asked for. */
export function aggregate(model: GraphModel, opened: ReadonlySet<string>, all: boolean): GraphModel {
  if (all || model.nodes.size <= LIMIT) return model;
  const members = new Map<string, Node[]>();
  for (const node of model.nodes.values()) {
    if (!opened.has(node.namespace)) (members.get(node.namespace) ?? members.set(node.namespace, []).get(node.namespace)!).push(node);
  }
  const nodes = new Map<string, Node>();
  for (const node of model.nodes.values()) if (opened.has(node.namespace)) nodes.set(node.key, node);
  for (const [namespace, inside] of members) nodes.set(groupKey(namespace), closed(namespace, inside));
  const shown = (key: string): string => {
    const node = model.nodes.get(key);
    return node && !opened.has(node.namespace) ? groupKey(node.namespace) : key;
  };
  const edges = new Map<string, Edge>();
  for (const edge of model.edges.values()) {
    const moved: Edge = { ...edge, source: shown(edge.source), target: shown(edge.target) };
    if (moved.source === moved.target) continue;
    const id = edgeId(moved);
    const old = edges.get(id);
    edges.set(id, old ? merge(old, moved) : moved);
  }
  return { ...model, nodes, edges };
}

function closed(namespace: string, inside: Node[]): Node {
  const first = inside[0];
  const traffic = Object.fromEntries(protocols.map((p) => [p, {
    incoming: inside.reduce((sum, n) => addTally(sum, n.traffic[p].incoming), emptyTally()),
    outgoing: inside.reduce((sum, n) => addTally(sum, n.traffic[p].outgoing), emptyTally()),
  }])) as Node["traffic"];
  const idle = inside.every((n) => n.idle) ? first.idle : null;
  return {
    ...first,
    key: groupKey(namespace), kind: "aggregate", namespace, aggregate: ["namespace", namespace],
    workload: "", app: "", version: "", service: "", services: [], labels: {}, traffic, idle,
    cluster: inside.every((n) => n.cluster === first.cluster) ? first.cluster : "", badges: noBadges, egress: null, serviceEntry: null, root: inside.some((n) => n.root),
    outOfMesh: inside.every((n) => n.outOfMesh), health: worst(inside.map((n) => n.health)), examples: inside.flatMap((n) => n.examples).slice(0, 3),
  };
}

const noBadges: Badges = {
  circuitBreaker: false, faultInjection: false, mirroring: false, requestRouting: false, requestTimeout: false,
  tcpTrafficShifting: false, trafficShifting: false, virtualService: null, workloadEntries: [], gateway: null,
  ingressWaypoint: false, gatewayApi: false,
};

const severity: HealthStatus[] = ["NA", "Healthy", "Not Ready", "Degraded", "Failure"];

/** The worst one, whose rule and examples are then shown. */
export function worst(all: (Health | null)[]): Health | null {
  return all.reduce((w, h) => (h && (!w || severity.indexOf(statusOf(h)) > severity.indexOf(statusOf(w))) ? h : w), null);
}

function merge(a: Edge, b: Edge): Edge {
  const total = a.rates.total + b.rates.total;
  const mean = (x: number, y: number): number => (total > 0 ? (x * a.rates.total + y * b.rates.total) / total : 0);
  const security = a.security && b.security
    ? { ...a.security, mtls: mean(a.security.mtls, b.security.mtls), morePrincipals: true }
    : a.security ?? b.security;
  const times = a.responseTimes && b.responseTimes
    // Quantiles cannot be added: of several edges the slowest is said.
    ? { avg: mean(a.responseTimes.avg, b.responseTimes.avg), p50: Math.max(a.responseTimes.p50, b.responseTimes.p50), p95: Math.max(a.responseTimes.p95, b.responseTimes.p95), p99: Math.max(a.responseTimes.p99, b.responseTimes.p99) }
    : a.responseTimes ?? b.responseTimes;
  const throughput = a.throughput && b.throughput
    ? { request: a.throughput.request + b.throughput.request, response: a.throughput.response + b.throughput.response }
    : a.throughput ?? b.throughput;
  return {
    ...a, rates: addTally(a.rates, b.rates), responses: [...a.responses, ...b.responses], security, throughput,
    responseTimes: times, health: worst([a.health, b.health]), examples: [...a.examples, ...b.examples].slice(0, 3), unmatched: [...a.unmatched, ...b.unmatched],
  };
}
