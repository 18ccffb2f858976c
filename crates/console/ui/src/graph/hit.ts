// What lies under a point of the picture. Pure.
import { pointAt, type Scene } from "./scene.ts";

export type Hit = { kind: "node"; key: string } | { kind: "edge"; id: string } | null;

export function hit(scene: Scene, x: number, y: number, zoom: number): Hit {
  const slack = 4 / zoom;
  for (let i = scene.nodes.length - 1; i >= 0; i--) {
    const n = scene.nodes[i];
    if (Math.hypot(n.x - x, n.y - y) <= Math.max(n.r, 4 / zoom) + slack) return { kind: "node", key: n.key };
  }
  let best: string | null = null;
  let least = 7 / zoom;
  for (const e of scene.edges) {
    const c = e.curve;
    const reach = least;
    if (x < Math.min(c[0], c[2], c[4], c[6]) - reach || x > Math.max(c[0], c[2], c[4], c[6]) + reach) continue;
    if (y < Math.min(c[1], c[3], c[5], c[7]) - reach || y > Math.max(c[1], c[3], c[5], c[7]) + reach) continue;
    for (let t = 0; t <= 1; t += 0.03125) {
      const p = pointAt(c, t);
      const d = Math.hypot(p.x - x, p.y - y);
      if (d < least) { least = d; best = e.id; }
    }
  }
  return best === null ? null : { kind: "edge", id: best };
}
