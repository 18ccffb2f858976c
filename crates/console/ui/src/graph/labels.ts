// Text over the picture: names, numbers, locks and badges. Drawn on a canvas of its own and only when the camera or the data
// has changed, for what is visible and has room; the animation below never waits for it.
import type { Camera } from "./camera.ts";
import { toScreen } from "./camera.ts";
import { pointAt, type Scene, type SceneBox, type SceneEdge, type SceneNode } from "./scene.ts";
import { type Sign, signs, signsOf } from "./signs.ts";
import { css, type Theme } from "./theme.ts";

export interface LabelOptions {
  /** Lines of text of an edge, made by the page since they are in its language. */
  edge: (edge: SceneEdge) => string[];
  /** What is said of a node under its name, such as why it is idle. */
  note: (node: SceneNode) => string;
  /** What is written over a box. */
  box: (box: SceneBox) => string;
  security: boolean;
  badges: boolean;
}

const MOST = 320;

const known = new Map<string, number>();

/** Width of a text in the font that is set. */
function widthOf(g: CanvasRenderingContext2D, text: string): number {
  const key = `${g.font}|${text}`;
  let width = known.get(key);
  if (width === undefined) {
    if (known.size > 20_000) known.clear();
    width = g.measureText(text).width;
    known.set(key, width);
  }
  return width;
}

/** Boxes on the screen that are taken, in cells, so that looking is quick. */
class Room {
  private cells = new Map<number, [number, number, number, number][]>();
  take(x: number, y: number, w: number, h: number): boolean {
    const rect: [number, number, number, number] = [x, y, x + w, y + h];
    const places: number[] = [];
    for (let i = Math.floor(x / 128); i <= Math.floor((x + w) / 128); i++) {
      for (let j = Math.floor(y / 64); j <= Math.floor((y + h) / 64); j++) places.push(i * 4096 + j);
    }
    for (const p of places) for (const r of this.cells.get(p) ?? []) if (r[0] < rect[2] && rect[0] < r[2] && r[1] < rect[3] && rect[1] < r[3]) return false;
    for (const p of places) (this.cells.get(p) ?? this.cells.set(p, []).get(p)!).push(rect);
    return true;
  }
}

export function drawLabels(g: CanvasRenderingContext2D, scene: Scene, camera: Camera, theme: Theme, options: LabelOptions, width: number, height: number): void {
  g.clearRect(0, 0, width, height);
  const room = new Room();
  const z = camera.zoom;
  // In steps, so that widths of text are measured once.
  const size = Math.round(2 * Math.max(10.5, Math.min(13, 12.5 * Math.sqrt(z)))) / 2;
  g.textAlign = "center";
  g.textBaseline = "middle";
  const visible = (x: number, y: number): boolean => x > -90 && y > -60 && x < width + 90 && y < height + 60;
  for (const box of scene.boxes) boxTitle(g, box.kind === "app" && z < 0.5 ? "" : options.box(box), toScreen(camera, { x: box.left, y: box.top }), (box.right - box.left) * z, theme, z, room);
  const order = [...scene.nodes].filter((n) => !n.dim || z > 0.5).sort((a, b) => weight(b) - weight(a));
  const placed: { n: SceneNode; x: number; y: number }[] = [];
  for (const n of order) {
    const p = toScreen(camera, n);
    // From afar, of many only what needs a look is named.
    if (visible(p.x, p.y) && (z > 0.28 || scene.nodes.length <= 150 || n.found || n.tone === "failure" || n.tone === "degraded")) placed.push({ n, ...p });
  }
  // Nothing is written over a node.
  if (z > 0.32) for (const { n, x, y } of placed) room.take(x - n.r * z, y - n.r * z, n.r * 2 * z, n.r * 2 * z);
  let drawn = 0;
  for (const { n, x, y } of placed) {
    if (drawn >= MOST) break;
    if (nodeLabel(g, n, [n.subtitle, options.note(n)].filter(Boolean).join(" · "), x, y, z, size, theme, room)) drawn++;
    if (options.badges && z > 0.45 && !n.dim) badges(g, n, x, y, z, theme);
  }
  if (z < 0.36) return;
  for (const e of scene.edges) {
    if (drawn >= MOST) break;
    if (e.dim || e.strength < 1) continue;
    const p = toScreen(camera, pointAt(e.curve, 0.5));
    if (visible(p.x, p.y) && edgeLabel(g, e, p.x, p.y, size, theme, options, room)) drawn++;
  }
}

const weight = (n: SceneNode): number => (n.found ? 4 : 0) + (n.tone === "failure" ? 2 : n.tone === "degraded" ? 1 : 0) + (n.dim ? -4 : 0);

function boxTitle(g: CanvasRenderingContext2D, name: string, at: { x: number; y: number }, width: number, theme: Theme, z: number, room: Room): void {
  if (width < 30) return;
  g.textAlign = "left";
  g.font = `600 ${z < 0.25 ? 10 : 11.5}px ${theme.font}`;
  g.fillStyle = theme.muted;
  const text = clip(g, name, Math.max(110, width));
  room.take(at.x + 2, at.y - 16, widthOf(g, text) + 6, 14);
  g.fillText(text, at.x + 4, at.y - 9);
  g.textAlign = "center";
}

function nodeLabel(g: CanvasRenderingContext2D, n: SceneNode, subtitle: string, x: number, y: number, z: number, size: number, theme: Theme, room: Room): boolean {
  const top = y + n.r * z * 1.12 + 6;
  g.font = `400 ${size - 1}px ${theme.font}`;
  const below = subtitle && z > 0.4 ? clip(g, subtitle, 168) : "";
  const wide = below ? widthOf(g, below) : 0;
  g.font = `600 ${size}px ${theme.font}`;
  const name = clip(g, n.name, 168);
  const w = widthOf(g, name);
  // The line below may be the wider one.
  let lines = below ? 2 : 1;
  if (!room.take(x - Math.max(w, wide) / 2 - 2, top, Math.max(w, wide) + 4, size * 1.25 * lines)) {
    lines = 1;
    if (!below || !room.take(x - w / 2 - 2, top, w + 4, size * 1.25)) return aside(g, n, name, w, x, y, z, size, theme, room);
  }
  g.globalAlpha = n.dim ? 0.3 : 1;
  outlined(g, name, x, top + size * 0.68, theme.text, theme);
  if (lines === 2) {
    g.font = `400 ${size - 1}px ${theme.font}`;
    outlined(g, below, x, top + size * 1.95, theme.muted, theme);
  }
  g.globalAlpha = 1;
  return true;
}

/** Right or left of a node under which there is no room. */
function aside(g: CanvasRenderingContext2D, n: SceneNode, name: string, w: number, x: number, y: number, z: number, size: number, theme: Theme, room: Room): boolean {
  for (const side of [1, -1]) {
    const middle = x + side * (n.r * z * 1.15 + 5 + w / 2);
    if (!room.take(middle - w / 2, y - size * 0.6, w, size * 1.2)) continue;
    g.globalAlpha = n.dim ? 0.3 : 1;
    outlined(g, name, middle, y, theme.text, theme);
    g.globalAlpha = 1;
    return true;
  }
  return false;
}

function outlined(g: CanvasRenderingContext2D, text: string, x: number, y: number, colour: string, theme: Theme): void {
  g.strokeStyle = css(theme.ground, 0.85);
  g.lineWidth = 3;
  g.lineJoin = "round";
  g.strokeText(text, x, y);
  g.fillStyle = colour;
  g.fillText(text, x, y);
}

function edgeLabel(g: CanvasRenderingContext2D, e: SceneEdge, x: number, y: number, size: number, theme: Theme, options: LabelOptions, room: Room): boolean {
  const lines = options.edge(e);
  const mtls = e.edge.security?.mtls ?? 0;
  const lock = options.security && mtls > 0;
  const sign = e.tone === "failure" || e.tone === "degraded";
  if (lines.length === 0 && !lock && !sign) return false;
  const small = size - 1.5;
  g.font = `500 ${small}px ${theme.font}`;
  const icons = (lock ? 13 : 0) + (sign ? 14 : 0);
  const text = lines.length ? Math.max(...lines.map((l, i) => widthOf(g, l) + (i === 0 ? icons : 0))) : icons - 3;
  const w = text + 12;
  const h = Math.max(1, lines.length) * (small + 3) + 5;
  // A little higher where it would lie on the names beside it; beside the middle where somebody else is there already.
  const place = [0, Math.min(0, 12 - h / 2), -h - 3, h + 3, -2 * h - 6, 2 * h + 6].find((dy) => room.take(x - w / 2, y + dy - h / 2, w, h));
  if (place === undefined) return false;
  const top = y + place - h / 2;
  g.fillStyle = theme.pill;
  g.beginPath();
  g.roundRect(x - w / 2, top, w, h, Math.min(9, h / 2));
  g.fill();
  g.lineWidth = 1;
  g.strokeStyle = css(theme.tones[e.tone], e.tone === "idle" ? 0.3 : 0.45);
  g.stroke();
  g.textAlign = "left";
  const first = top + 2.5 + (small + 3) / 2;
  let at = x - text / 2;
  if (lines.length === 1) at = x - (widthOf(g, lines[0]) + icons) / 2;
  if (lock) { drawLock(g, at + 4.5, first, css(theme.tones[e.edge.protocol === "tcp" ? "tcp" : "mtls"]), mtls >= 0.995); at += 13; }
  if (sign) { warning(g, at + 5, first, css(theme.tones[e.tone]), e.tone === "failure", theme); at += 14; }
  lines.forEach((line, i) => {
    g.fillStyle = i > 0 && sign ? css(theme.tones[e.tone], 1) : theme.text;
    g.fillText(line, i === 0 ? at : x - text / 2, first + i * (small + 3) + 0.5);
  });
  g.textAlign = "center";
  return true;
}

/** A closed lock: all of it is mTLS; an open one: only a part is. */
export function drawLock(g: CanvasRenderingContext2D, x: number, y: number, colour: string, whole: boolean): void {
  g.fillStyle = colour;
  g.strokeStyle = colour;
  g.lineWidth = 1.5;
  g.beginPath();
  g.roundRect(x - 4.2, y - 1.2, 8.4, 6, 1.4);
  g.fill();
  g.beginPath();
  if (whole) { g.moveTo(x - 2.5, y - 1); g.lineTo(x - 2.5, y - 2.6); g.arc(x, y - 2.6, 2.5, Math.PI, 0); g.lineTo(x + 2.5, y - 1); }
  else { g.moveTo(x - 2.5, y - 1); g.lineTo(x - 2.5, y - 3.2); g.arc(x, y - 3.2, 2.5, Math.PI, -0.5); }
  g.stroke();
}

/** A triangle for what is degraded, a cross in a square for what fails. */
function warning(g: CanvasRenderingContext2D, x: number, y: number, colour: string, failing: boolean, theme: Theme): void {
  g.fillStyle = colour;
  g.strokeStyle = css(theme.ground);
  g.lineWidth = 1.5;
  g.beginPath();
  if (failing) {
    g.roundRect(x - 5, y - 5, 10, 10, 2);
    g.fill();
    g.beginPath();
    g.moveTo(x - 2.2, y - 2.2); g.lineTo(x + 2.2, y + 2.2); g.moveTo(x + 2.2, y - 2.2); g.lineTo(x - 2.2, y + 2.2);
  } else {
    g.moveTo(x, y - 5); g.lineTo(x + 5.6, y + 4.6); g.lineTo(x - 5.6, y + 4.6); g.closePath();
    g.fill();
    g.beginPath();
    g.moveTo(x, y - 1.8); g.lineTo(x, y + 1.3); g.moveTo(x, y + 2.6); g.lineTo(x, y + 3.3);
  }
  g.stroke();
}

const paths = new Map<Sign, Path2D>();
const path = (sign: Sign): Path2D => paths.get(sign) ?? paths.set(sign, new Path2D(signs[sign])).get(sign)!;

function badges(g: CanvasRenderingContext2D, n: SceneNode, x: number, y: number, z: number, theme: Theme): void {
  if (n.pinned) pinned(g, x + n.r * z * 0.8, y + n.r * z * 0.8, theme);
  const list = signsOf(n.node);
  if (n.tone === "failure" || n.tone === "degraded") warning(g, x + n.r * z * 0.8, y - n.r * z * 0.8, css(theme.tones[n.tone]), n.tone === "failure", theme);
  if (n.shape === "stack" || n.node.egress) inside(g, n, x, y, z, theme);
  if (!list.length) return;
  const w = list.length * 14 + 6;
  const top = y - n.r * z - 19;
  g.fillStyle = theme.pill;
  g.strokeStyle = css(theme.boxLine);
  g.lineWidth = 1;
  g.beginPath();
  g.roundRect(x - w / 2, top, w, 15, 7.5);
  g.fill();
  g.stroke();
  g.strokeStyle = theme.muted;
  g.lineWidth = 1.3;
  list.forEach((sign, i) => {
    g.save();
    g.translate(x - w / 2 + 4 + i * 14, top + 1.5);
    g.stroke(path(sign));
    g.restore();
  });
}

/** The head of a pin: somebody put it there. */
function pinned(g: CanvasRenderingContext2D, x: number, y: number, theme: Theme): void {
  g.beginPath();
  g.arc(x, y, 4, 0, 2 * Math.PI);
  g.fillStyle = css(theme.accent);
  g.fill();
  g.lineWidth = 1.5;
  g.strokeStyle = css(theme.ground);
  g.stroke();
}

function inside(g: CanvasRenderingContext2D, n: SceneNode, x: number, y: number, z: number, theme: Theme): void {
  g.font = `700 ${13 * Math.min(1.2, z)}px ${theme.font}`;
  g.fillStyle = css(theme.tones[n.tone]);
  g.fillText(n.node.egress ? (n.node.egress === "BlackHoleCluster" ? "✕" : "?") : "+", x, y + 1);
}

function clip(g: CanvasRenderingContext2D, text: string, width: number): string {
  if (widthOf(g, text) <= width) return text;
  let end = text.length - 1;
  while (end > 3 && widthOf(g, `${text.slice(0, end)}…`) > width) end--;
  return `${text.slice(0, end)}…`;
}
