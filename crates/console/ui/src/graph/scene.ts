// What is drawn: nodes, edges and boxes with places, tones and marks, ready for either renderer. Pure.
import type { Edge, Node } from "../api/types.ts";
import { edgeId, edgeTone, errorShare, type GraphModel, nodeName, nodeSubtitle, nodeTone, type Tone } from "./model.ts";
import type { Point } from "./layout.ts";
import { clusterBoxes, placeOf, severalClusters } from "./clusters.ts";
import { appBoxes } from "./apps.ts";
import { spacing } from "./layout.ts";

export type Shape = "circle" | "square" | "diamond" | "trapezoid" | "hexagon" | "octagon" | "stack";

export interface SceneNode {
  key: string;
  node: Node;
  x: number;
  y: number;
  /** Half its size. */
  r: number;
  shape: Shape;
  tone: Tone;
  name: string;
  subtitle: string;
  /** Faded, because something else is looked for or selected. */
  dim: boolean;
  found: boolean;
  /** Somebody put it where it is. */
  pinned: boolean;
}

export interface SceneEdge {
  id: string;
  edge: Edge;
  tone: Tone;
  /** A cubic curve: ends and controls. */
  curve: Float32Array;
  dim: boolean;
  found: boolean;
  /** From 0 to 1: where there are many, the healthy ones stand back, so that the others are seen. */
  strength: number;
  source: SceneNode;
  target: SceneNode;
}

export interface SceneBox { kind: "cluster" | "namespace" | "app"; name: string; left: number; top: number; right: number; bottom: number }

export interface Scene {
  nodes: SceneNode[];
  edges: SceneEdge[];
  boxes: SceneBox[];
  byKey: Map<string, SceneNode>;
}

export interface Marks {
  selected: string | null;
  foundNodes: ReadonlySet<string> | null;
  foundEdges: ReadonlySet<string> | null;
  /** Edges of a trace that is laid over the graph; null: none. */
  trace: ReadonlySet<string> | null;
}

export function shapeOf(node: Node): Shape {
  if (node.egress) return "octagon";
  if (node.key.startsWith("ns:")) return "stack";
  if (node.serviceEntry) return "trapezoid";
  switch (node.kind) {
    case "service": return "diamond";
    case "app": return "square";
    case "aggregate": return "hexagon";
    default: return "circle";
  }
}

export function buildScene(model: GraphModel, points: Map<string, Point>, bows: Map<string, number>, marks: Marks, pins: ReadonlyMap<string, Point> = new Map()): Scene {
  const nodes: SceneNode[] = [];
  const byKey = new Map<string, SceneNode>();
  const near = neighbourhood(model, marks.selected);
  for (const node of model.nodes.values()) {
    const pinned = pins.has(node.key);
    const p = pins.get(node.key) ?? points.get(node.key);
    if (!p) continue;
    const found = marks.foundNodes?.has(node.key) ?? false;
    const dim = (marks.foundNodes !== null && !found) || (near !== null && !near.has(node.key));
    const shape = shapeOf(node);
    const made: SceneNode = {
      key: node.key, node, x: p.x, y: p.y, r: shape === "stack" ? 24 : shape === "diamond" ? 17 : 19, shape,
      tone: nodeTone(node), name: nodeName(node), subtitle: nodeSubtitle(node, model.graphType), dim, found, pinned,
    };
    nodes.push(made);
    byKey.set(node.key, made);
  }
  const edges: SceneEdge[] = [];
  const crowd = model.edges.size > 600 ? 0.26 : model.edges.size > 120 ? 0.4 : 1;
  for (const [id, edge] of model.edges) {
    const [source, target] = [byKey.get(edge.source), byKey.get(edge.target)];
    if (!source || !target) continue;
    const found = (marks.foundEdges?.has(id) ?? false) || (marks.trace?.has(id) ?? false);
    const dim = (marks.foundEdges !== null && !marks.foundEdges.has(id)) || (marks.trace !== null && !marks.trace.has(id)) ||
      (near !== null && !touches(edge, id, marks.selected!));
    const tone = edgeTone(edge);
    const trouble = tone === "failure" || tone === "degraded" || edge.unmatched.length > 0;
    const strength = dim ? 0.16 : trouble || found || near !== null ? 1 : crowd;
    edges.push({ id, edge, tone, strength, curve: curve(source, target, source.pinned || target.pinned ? 0 : bows.get(id) ?? 0), dim, found, source, target });
  }
  // What is strong is drawn over what is not.
  edges.sort((a, b) => a.strength - b.strength);
  return { nodes, edges, boxes: [...boxesOf(nodes), ...appBoxes(nodes, model.graphType)], byKey };
}

const touches = (edge: Edge, id: string, selected: string): boolean =>
  id === selected || edge.source === selected || edge.target === selected;

/** The selected thing and what it talks to; null where nothing is selected. */
function neighbourhood(model: GraphModel, selected: string | null): Set<string> | null {
  if (!selected) return null;
  const near = new Set<string>();
  if (model.nodes.has(selected)) near.add(selected);
  for (const [id, edge] of model.edges) if (touches(edge, id, selected)) near.add(edge.source).add(edge.target);
  return near.size ? near : null;
}

/** From the rim of one node to the rim of another, leaving and arriving level where there is room for it. */
export function curve(s: SceneNode, t: SceneNode, bow: number): Float32Array {
  if (s === t) return new Float32Array([s.x + s.r, s.y, s.x + s.r + 50, s.y - 60, s.x - s.r - 50, s.y - 60, s.x - s.r, s.y]);
  const [dx, dy] = [t.x - s.x, t.y - s.y];
  if (s.shape === "stack" && t.shape === "stack") return chord(s, t, dx, dy);
  const gap = 4;
  const back = dx < spacing.x * 0.4;
  if (back && Math.abs(dx) < spacing.x * 0.4) {
    // One above the other: round the side.
    const side = s.r + gap;
    const out = 60 + Math.abs(dy) * 0.15;
    return new Float32Array([s.x + side, s.y, s.x + side + out, s.y + dy * 0.2, t.x + t.r + gap + out, t.y - dy * 0.2, t.x + t.r + gap, t.y]);
  }
  const sign = back ? -1 : 1;
  const x0 = s.x + sign * (s.r + gap);
  const x3 = t.x - sign * (t.r + gap);
  const reach = Math.max(24, Math.abs(x3 - x0) * 0.46);
  if (Math.abs(bow) > 1) {
    // The middle of a cubic is an eighth of the ends and three eighths of each control.
    const lift = (s.y + t.y) / 2 + (bow * 8) / 6;
    return new Float32Array([x0, s.y, x0 + sign * reach * 0.7, lift, x3 - sign * reach * 0.7, lift, x3, t.y]);
  }
  const arch = back ? -70 : 0;
  return new Float32Array([x0, s.y, x0 + sign * reach, s.y + arch, x3 - sign * reach, t.y + arch, x3, t.y]);
}

/** Nearly straight, bent to its left, so that the way back is another line. */
function chord(s: SceneNode, t: SceneNode, dx: number, dy: number): Float32Array {
  const length = Math.hypot(dx, dy) || 1;
  const [ux, uy] = [dx / length, dy / length];
  const [x0, y0, x3, y3] = [s.x + ux * (s.r + 4), s.y + uy * (s.r + 4), t.x - ux * (t.r + 4), t.y - uy * (t.r + 4)];
  const bend = Math.min(40, length * 0.08);
  const at = (share: number): [number, number] => [x0 + (x3 - x0) * share + uy * bend, y0 + (y3 - y0) * share - ux * bend];
  return new Float32Array([x0, y0, ...at(0.33), ...at(0.67), x3, y3]);
}

export function pointAt(c: Float32Array, t: number): Point {
  const u = 1 - t;
  const [a, b, d, e] = [u * u * u, 3 * u * u * t, 3 * u * t * t, t * t * t];
  return { x: a * c[0] + b * c[2] + d * c[4] + e * c[6], y: a * c[1] + b * c[3] + d * c[5] + e * c[7] };
}

/** Of namespaces, in those of their clusters where there are several: a namespace of two clusters has two. */
function boxesOf(nodes: SceneNode[]): SceneBox[] {
  const several = severalClusters(nodes.map((n) => n.node));
  const found = new Map<string, { place: string; box: SceneBox }>();
  for (const n of nodes) {
    if (n.node.egress || n.shape === "stack" || n.node.kind === "unknown" || !n.node.namespace) continue;
    const place = several ? placeOf(n.node) : "";
    const key = `${place}/${n.node.namespace}`;
    const old = found.get(key)?.box;
    const box = { left: n.x - spacing.x / 2 + 18, top: n.y - spacing.padTop, right: n.x + spacing.x / 2 - 18, bottom: n.y + spacing.pad + 36 };
    found.set(key, { place, box: old
      ? { kind: old.kind, name: old.name, left: Math.min(old.left, box.left), top: Math.min(old.top, box.top), right: Math.max(old.right, box.right), bottom: Math.max(old.bottom, box.bottom) }
      : { kind: "namespace", name: n.node.namespace, ...box } });
  }
  const namespaces = [...found.values()];
  return [...clusterBoxes(namespaces), ...namespaces.map((n) => n.box)];
}

export function boundsOf(scene: Scene): { left: number; top: number; right: number; bottom: number } {
  const b = { left: Infinity, top: Infinity, right: -Infinity, bottom: -Infinity };
  const add = (left: number, top: number, right: number, bottom: number): void => {
    b.left = Math.min(b.left, left); b.top = Math.min(b.top, top); b.right = Math.max(b.right, right); b.bottom = Math.max(b.bottom, bottom);
  };
  for (const box of scene.boxes) add(box.left, box.top, box.right, box.bottom);
  for (const n of scene.nodes) add(n.x - 70, n.y - 40, n.x + 70, n.y + 60);
  return Number.isFinite(b.left) ? b : { left: 0, top: 0, right: 1, bottom: 1 };
}

/** Moving dots: how many a rate is worth, how fast they run, and which of them failed. */
export interface Dot { edge: SceneEdge; phase: number; speed: number; kind: 0 | 1 | 2 }

const DOT_LIMIT = 12_000;

export function dotsOf(scene: Scene): Dot[] {
  const dots: Dot[] = [];
  for (const e of scene.edges) {
    const rate = e.edge.rates.total;
    if (rate <= 0 || e.dim) continue;
    const tcp = e.edge.protocol === "tcp";
    const measure = tcp ? rate / 1024 : rate;
    const count = Math.max(1, Math.min(10, Math.round(1 + 2 * Math.log10(1 + measure) * (tcp ? 1 : 1.5))));
    const failed = Math.round(count * errorShare(e.edge.rates));
    // Slow answers run slowly: 10 ms crosses in two seconds, 1 s in six.
    const time = e.edge.responseTimes?.p50 ?? 20;
    // In steps, since a dot's place is its speed times the age of the page: each small change would make it jump.
    const speed = 1 / (Math.round(2 * (2 + 2 * Math.max(0, Math.log10(Math.max(1, time) / 10)))) / 2);
    const some = errorShare(e.edge.rates) > 0 ? Math.max(1, failed) : 0;
    for (let i = 0; i < count && dots.length < DOT_LIMIT; i++) {
      dots.push({ edge: e, phase: (i * 0.618034 + hash(e.id)) % 1, speed, kind: tcp ? 2 : i < some ? 1 : 0 });
    }
  }
  return dots;
}

function hash(text: string): number {
  let h = 0;
  for (let i = 0; i < text.length; i++) h = (h * 31 + text.charCodeAt(i)) | 0;
  return (h >>> 0) / 4294967296;
}

export { edgeId };
