// Which edges of the graph a trace went along. Spans name services `WORKLOAD.NAMESPACE`, as Istio does. Pure.
import { edgeId, type GraphModel } from "../graph/model.ts";
import type { Node } from "../api/types.ts";
import type { Row, Tree } from "./model.ts";

export function edgesOf(of: Tree, model: GraphModel): Set<string> {
  const found = new Set<string>();
  const names = new Map([...model.nodes.values()].map((n) => [n.key, namesOf(n)]));
  const is = (key: string, service: string): boolean => names.get(key)?.has(service) ?? false;
  const edges = [...model.edges.values()];
  for (const [from, to] of calls(of.rows)) {
    for (const first of edges) {
      if (!is(first.source, from)) continue;
      if (is(first.target, to)) found.add(edgeId(first));
      // Through the service between client and server.
      if (model.nodes.get(first.target)?.kind !== "service") continue;
      for (const second of edges) if (second.source === first.target && is(second.target, to)) found.add(edgeId(first)).add(edgeId(second));
    }
  }
  return found;
}

/** Pairs of different services that called each other. */
function calls(rows: Row[]): [string, string][] {
  const pairs = new Map<string, [string, string]>();
  for (const row of rows) if (row.parent && row.parent.service !== row.service) pairs.set(`${row.parent.service}>${row.service}`, [row.parent.service, row.service]);
  return [...pairs.values()];
}

function namesOf(node: Node): Set<string> {
  return new Set([node.workload, node.app, node.service].filter(Boolean).map((name) => `${name}.${node.namespace}`));
}
