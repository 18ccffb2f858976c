// The graph as the page holds it: by key, so that a patch of the stream can be laid over it, with what is derived from one
// node or edge alone (its name, its tone). Pure.
import type { Edge, Graph, GraphPatch, GraphType, Health, HealthStatus, Node, Protocol, Tally } from "../api/types.ts";

export interface GraphModel {
  graphType: GraphType;
  timestamp: number;
  duration: number;
  nodes: Map<string, Node>;
  edges: Map<string, Edge>;
}

/** What a line or ring says by its colour. Each has a pattern of its own as well: see `patterns` in theme.ts. */
export type Tone = "mtls" | "plain" | "tcp" | "degraded" | "failure" | "idle";

export const edgeId = (edge: Pick<Edge, "source" | "target" | "protocol">): string =>
  `${edge.source}>${edge.target}>${edge.protocol}`;

export function fromGraph(graph: Graph): GraphModel {
  const nodes = new Map(graph.nodes.map((node) => [node.key, node]));
  const edges = new Map<string, Edge>();
  for (const edge of graph.edges) {
    const source = graph.nodes[edge.source];
    const target = graph.nodes[edge.target];
    if (!source || !target || edge.hidden) continue;
    const named: Edge = { ...edge, source: source.key, target: target.key };
    edges.set(edgeId(named), named);
  }
  return { graphType: graph.graphType, timestamp: graph.timestamp, duration: graph.duration, nodes, edges };
}

/** A new model: what holds the old one still sees the old one. */
export function applyPatch(model: GraphModel, patch: GraphPatch): GraphModel {
  const nodes = new Map(patch.whole ? [] : model.nodes);
  const edges = new Map(patch.whole ? [] : model.edges);
  for (const key of patch.goneNodes) nodes.delete(key);
  for (const id of patch.goneEdges) edges.delete(id);
  for (const node of patch.nodes) nodes.set(node.key, node);
  for (const edge of patch.edges) if (!edge.hidden) edges.set(edgeId(edge), edge);
  for (const [id, edge] of edges) if (!nodes.has(edge.source) || !nodes.has(edge.target)) edges.delete(id);
  return { ...model, timestamp: patch.timestamp, duration: patch.duration, nodes, edges };
}

export const protocols: readonly Protocol[] = ["http", "grpc", "tcp"];

export const emptyTally = (): Tally => ({
  total: 0, noResponse: 0, redirects: 0, clientErrors: 0, serverErrors: 0, grpcErrors: 0,
});

export const addTally = (a: Tally, b: Tally): Tally => ({
  total: a.total + b.total,
  noResponse: a.noResponse + b.noResponse,
  redirects: a.redirects + b.redirects,
  clientErrors: a.clientErrors + b.clientErrors,
  serverErrors: a.serverErrors + b.serverErrors,
  grpcErrors: a.grpcErrors + b.grpcErrors,
});

export const errorsOf = (t: Tally): number => t.noResponse + t.clientErrors + t.serverErrors + t.grpcErrors;

/** From 0 to 1. */
export const errorShare = (t: Tally): number => (t.total > 0 ? errorsOf(t) / t.total : 0);

/** HTTP and gRPC are both requests; TCP is told apart. */
export function requestsIn(node: Node, direction: "incoming" | "outgoing"): Tally {
  return addTally(node.traffic.http[direction], node.traffic.grpc[direction]);
}

export function hasTraffic(node: Node): boolean {
  return protocols.some((p) => node.traffic[p].incoming.total > 0 || node.traffic[p].outgoing.total > 0);
}

export function nodeName(node: Node): string {
  switch (node.kind) {
    case "workload":
      return node.workload;
    case "service":
      return node.serviceEntry?.hosts[0] ?? node.service;
    case "app":
      return node.app;
    case "aggregate":
      return node.aggregate ? node.aggregate[1] : node.key;
    case "unknown":
      return "unknown";
  }
}

/** Second line under the name: what tells it from others of the same name. */
export function nodeSubtitle(node: Node, type: GraphType): string {
  if (node.kind === "app" && type === "versionedApp") return node.version;
  return "";
}

/** Of a node the worse of its requests and pods, of an edge that of its requests. */
export const statusOf = (health: Health | null): HealthStatus => health?.status ?? health?.verdict.status ?? "NA";

export function edgeTone(edge: Edge): Tone {
  // A connection that was refused has moved nothing.
  if (edge.rates.total <= 0) return edge.unmatched.length ? "degraded" : "idle";
  const status = statusOf(edge.health);
  if (status === "Failure") return "failure";
  if (status === "Degraded") return "degraded";
  const secure = (edge.security?.mtls ?? 0) >= 0.5;
  if (!secure) return "plain";
  return edge.protocol === "tcp" ? "tcp" : "mtls";
}

export function nodeTone(node: Node): Tone {
  const status = statusOf(node.health);
  if (node.egress === "BlackHoleCluster" && !node.idle) return "failure";
  if (node.egress === "PassthroughCluster" && !node.idle) return "degraded";
  if (node.idle || (!hasTraffic(node) && node.kind !== "unknown")) {
    return status === "Failure" ? "failure" : status === "Degraded" ? "degraded" : "idle";
  }
  if (status === "Failure") return "failure";
  if (status === "Degraded" || status === "Not Ready") return "degraded";
  if (node.outOfMesh || node.kind === "unknown" || (node.serviceEntry && !node.serviceEntry.internal)) return "plain";
  return "mtls";
}

/** Requests that arrive, how many of them fail and how many come over mTLS. One through a service node is two edges: it counts where it arrives. */
export function totals(model: GraphModel): { all: number; bad: number; secured: number } {
  const edges = [...model.edges.values()];
  const passing = new Set(edges.map((e) => e.source).filter((key) => model.nodes.get(key)?.kind === "service"));
  const requests = edges.filter((e) => e.protocol !== "tcp" && e.unit === "requests" && !passing.has(e.target));
  const sum = (of: (e: Edge) => number): number => requests.reduce((s, e) => s + of(e), 0);
  return { all: sum((e) => e.rates.total), bad: sum((e) => errorsOf(e.rates)), secured: sum((e) => e.rates.total * (e.security?.mtls ?? 0)) };
}

/** Rank by number of edges, from 1 (most) on, as in Kiali: nodes with the same number have the same rank. */
export function ranks(model: GraphModel): Map<string, number> {
  const degree = new Map<string, number>();
  for (const edge of model.edges.values()) {
    degree.set(edge.source, (degree.get(edge.source) ?? 0) + 1);
    degree.set(edge.target, (degree.get(edge.target) ?? 0) + 1);
  }
  const distinct = [...new Set(degree.values())].sort((a, b) => b - a);
  const place = new Map(distinct.map((d, i) => [d, Math.min(100, i + 1)]));
  return new Map([...model.nodes.keys()].map((key) => [key, place.get(degree.get(key) ?? -1) ?? 100]));
}
