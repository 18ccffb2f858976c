// Clusters of Kubernetes: where a mesh has several, what is of one stands together, and in a box. Pure.
import type { Node } from "../api/types.ts";
import { isGroup } from "./aggregate.ts";
import { margin } from "./margin.ts";
import type { SceneBox } from "./scene.ts";

/** The cluster that a node is in; empty: none, or nobody knows which. */
export const placeOf = (n: Node): string => (n.kind === "unknown" || n.egress || isGroup(n.key) || n.cluster === "unknown" ? "" : n.cluster);

export function severalClusters(nodes: Iterable<Node>): boolean {
  let first = "";
  for (const n of nodes) {
    const place = placeOf(n);
    if (place && first && place !== first) return true;
    first ||= place;
  }
  return false;
}

/** Around boxes of namespaces, of which each is said whose it is. */
export function clusterBoxes(namespaces: { place: string; box: SceneBox }[]): SceneBox[] {
  const found = new Map<string, SceneBox>();
  for (const { place, box } of namespaces) {
    if (!place) continue;
    const [left, top, right, bottom] = [box.left - margin.side, box.top - margin.top, box.right + margin.side, box.bottom + margin.bottom];
    const old = found.get(place);
    found.set(place, old
      ? { ...old, left: Math.min(old.left, left), top: Math.min(old.top, top), right: Math.max(old.right, right), bottom: Math.max(old.bottom, bottom) }
      : { kind: "cluster", name: place, left, top, right, bottom });
  }
  return [...found.values()];
}
