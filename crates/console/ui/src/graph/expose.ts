// A window for tests and for the curious: what is drawn, where, in which tone. It can be read and not written.
import type { Engine } from "./engine.ts";

export interface Exposed {
  renderer: string;
  frames: number;
  zoom: number;
  nodes: { key: string; name: string; subtitle: string; tone: string; shape: string; x: number; y: number; worldX: number; worldY: number; dim: boolean; found: boolean; pinned: boolean }[];
  edges: { id: string; source: string; target: string; tone: string; rate: number; mtls: number; dim: boolean; found: boolean }[];
  boxes: string[];
  clusters: string[];
  /** Apps whose versions stand in one box. */
  apps: string[];
}

export function expose(engine: Engine | null): void {
  Object.defineProperty(window, "__graph", { configurable: true, get: (): Exposed | null => (engine ? picture(engine) : null) });
}

/** Lists are made when they are looked at: to count frames costs nothing. */
function picture(engine: Engine): Exposed {
  const { nodes, edges, boxes } = engine.current;
  return {
    renderer: engine.rendererName, frames: engine.frames, zoom: engine.view.zoom, boxes: boxes.filter((b) => b.kind === "namespace").map((b) => b.name), clusters: boxes.filter((b) => b.kind === "cluster").map((b) => b.name), apps: boxes.filter((b) => b.kind === "app").map((b) => b.name),
    get nodes() {
      return nodes.map((n) => ({ key: n.key, name: n.name, subtitle: n.subtitle, tone: n.tone, shape: n.shape, ...engine.screen(n.x, n.y), worldX: n.x, worldY: n.y, dim: n.dim, found: n.found, pinned: n.pinned }));
    },
    get edges() {
      return edges.map((e) => ({ id: e.id, source: e.source.key, target: e.target.key, tone: e.tone, rate: e.edge.rates.total, mtls: e.edge.security?.mtls ?? 0, dim: e.dim, found: e.found }));
    },
  };
}
