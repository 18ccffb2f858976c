// Versions of one app stand in a box of their own, where nothing else stands between them. Pure.
import type { GraphType, Node } from "../api/types.ts";
import type { SceneBox, SceneNode } from "./scene.ts";

/** What is to stand together; empty: nothing asks for it. */
export const clusterOf = (node: Node, type: GraphType): string =>
  type === "versionedApp" && node.kind === "app" && node.app ? `${node.namespace}/${node.app}` : "";

export function appBoxes(nodes: SceneNode[], type: GraphType): SceneBox[] {
  const found = new Map<string, SceneNode[]>();
  for (const n of nodes) {
    const key = clusterOf(n.node, type);
    if (key) (found.get(key) ?? found.set(key, []).get(key)!).push(n);
  }
  const boxes: SceneBox[] = [];
  for (const members of found.values()) {
    if (members.length < 2) continue;
    const box: SceneBox = {
      kind: "app", name: members[0].node.app,
      left: Math.min(...members.map((n) => n.x)) - 50, right: Math.max(...members.map((n) => n.x)) + 50,
      top: Math.min(...members.map((n) => n.y)) - 42, bottom: Math.max(...members.map((n) => n.y)) + 74,
    };
    const inside = (n: SceneNode): boolean => n.x > box.left - n.r && n.x < box.right + n.r && n.y > box.top - n.r && n.y < box.bottom + n.r;
    // A box that holds what is not of the app would say something untrue.
    if (!nodes.some((n) => inside(n) && !members.includes(n))) boxes.push(box);
  }
  return boxes;
}
