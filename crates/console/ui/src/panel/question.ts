// What to ask so that an edge of the graph is explained: who called, what was asked for. Pure.
import type { Edge, Node } from "../api/types.ts";
import type { GraphModel } from "../graph/model.ts";

/** Fields of the page's form, as they stand in its address; null: nobody is known to have called. */
export type Question = Record<"from" | "to" | "port" | "method" | "path", string> & { headers?: string };

export function questionOf(edge: Edge, model: GraphModel): Question | null {
  const [source, target] = [model.nodes.get(edge.source), model.nodes.get(edge.target)];
  if (!source || !target) return null;
  const caller = source.kind === "service" ? callerOf(source, model) : source;
  const name = caller && (caller.workload || caller.app);
  if (!caller || !name || caller.kind === "unknown") return null;
  const unmatched = edge.unmatched[0];
  const service = source.kind === "service" ? source : target.kind === "service" ? target : null;
  // What is dialled and what is asked for there are two things, of which the second was not found.
  const both = edge.protocol !== "tcp" && unmatched?.host && unmatched.address;
  const to = unmatched ? unmatched.address || unmatched.host
    : service ? service.serviceEntry?.hosts[0] ?? `${service.service}.${service.namespace}`
    : target.services[0] ? `${target.services[0].name}.${target.services[0].namespace}` : "";
  if (!to) return null;
  const example = edge.examples[0];
  return { from: `${caller.namespace}/${name}`, to, port: unmatched?.port ? String(unmatched.port) : "", method: example?.method ?? "GET", path: example?.path ?? "/", ...(both ? { headers: `host: ${unmatched.host}` } : {}) };
}

/** The service that the spans of a node are of: proxies call themselves by app. */
export const tracedAs = (node: Pick<Node, "app" | "workload" | "namespace">): string => `${node.app || node.workload}.${node.namespace}`;

/** Who calls a service most. */
export function callerOf(service: Node, model: GraphModel): Node | undefined {
  const into = [...model.edges.values()].filter((e) => e.target === service.key).sort((a, b) => b.rates.total - a.rates.total);
  return into.length ? model.nodes.get(into[0].source) : undefined;
}

/** The service whose routes and policies an edge is subject to: of either end, else the one before its target. */
export function serviceOf(key: string, model: GraphModel): { namespace: string; name: string } | null {
  const edge = model.edges.get(key);
  const ends = (edge ? [edge.target, edge.source] : [key]).map((k) => model.nodes.get(k)).filter((n) => n !== undefined);
  const is = (n: Node): boolean => n.kind === "service" && !n.egress && !n.serviceEntry;
  const direct = ends.find(is);
  if (direct) return { namespace: direct.namespace, name: direct.service };
  const listed = ends[0]?.services[0];
  if (listed) return { namespace: listed.namespace, name: listed.name };
  const before = [...model.edges.values()].filter((e) => e.target === ends[0]?.key).map((e) => model.nodes.get(e.source)).find((n) => n !== undefined && is(n));
  return before ? { namespace: before.namespace, name: before.service } : null;
}
