// The same picture where there is no WebGL2. Slower, and enough for a mesh of some hundred nodes.
import type { Renderer } from "./gl.ts";
import { type Dot, dotsOf, pointAt, type Scene, type SceneNode } from "./scene.ts";
import { css, patterns, type Theme, widths } from "./theme.ts";

const dashes: Record<number, number[]> = { 0: [], 1: [7, 4], 2: [2, 4], 3: [], 4: [10, 3, 3, 2] };

export function canvas2d(canvas: HTMLCanvasElement): Renderer {
  const g = canvas.getContext("2d")!;
  let scene: Scene | null = null;
  let theme: Theme | null = null;
  let selected: string | null = null;
  let dots: Dot[] = [];
  let size = { width: 1, height: 1, ratio: 1 };
  return {
    name: "canvas2d",
    setScene(next, now, chosen) { scene = next; theme = now; selected = chosen; dots = dotsOf(next); },
    resize(width, height, ratio) {
      size = { width, height, ratio };
      canvas.width = Math.max(1, Math.round(width * ratio));
      canvas.height = Math.max(1, Math.round(height * ratio));
    },
    draw(camera, seconds, animate) {
      g.setTransform(size.ratio, 0, 0, size.ratio, 0, 0);
      g.clearRect(0, 0, size.width, size.height);
      if (!scene || !theme) return;
      g.translate(camera.x, camera.y);
      g.scale(camera.zoom, camera.zoom);
      drawBoxes(g, scene, theme);
      drawEdges(g, scene, theme, selected);
      if (animate) drawDots(g, dots, theme, seconds);
      for (const node of scene.nodes) drawNode(g, node, theme, node.key === selected || node.found);
    },
    dispose() { scene = null; },
  };
}

function drawBoxes(g: CanvasRenderingContext2D, scene: Scene, theme: Theme): void {
  for (const b of scene.boxes) {
    g.beginPath();
    g.roundRect(b.left, b.top, b.right - b.left, b.bottom - b.top, 10);
    g.fillStyle = css(theme.box);
    g.fill();
    g.strokeStyle = css(theme.boxLine);
    g.lineWidth = b.kind === "cluster" ? 2 : 1;
    g.stroke();
  }
}

function drawEdges(g: CanvasRenderingContext2D, scene: Scene, theme: Theme, selected: string | null): void {
  for (const e of scene.edges) {
    const c = e.curve;
    const tone = theme.tones[e.tone];
    const width = widths[e.tone] * (e.id === selected || e.found ? 1.7 : 1);
    g.globalAlpha = e.strength;
    g.setLineDash(dashes[patterns[e.tone]]);
    g.beginPath();
    g.moveTo(c[0], c[1]);
    g.bezierCurveTo(c[2], c[3], c[4], c[5], c[6], c[7]);
    g.strokeStyle = css(tone);
    g.lineWidth = width;
    g.stroke();
    g.setLineDash([]);
    if (patterns[e.tone] === 3) { g.strokeStyle = css(theme.ground); g.lineWidth = width / 3; g.stroke(); }
    const length = Math.hypot(c[6] - c[4], c[7] - c[5]) || 1;
    const [dx, dy] = [(c[6] - c[4]) / length, (c[7] - c[5]) / length];
    g.beginPath();
    g.moveTo(c[6] + dx * 3, c[7] + dy * 3);
    g.lineTo(c[6] - dx * 6 - dy * 5, c[7] - dy * 6 + dx * 5);
    g.lineTo(c[6] - dx * 6 + dy * 5, c[7] - dy * 6 - dx * 5);
    g.fillStyle = css(tone);
    g.fill();
  }
  g.globalAlpha = 1;
}

function drawDots(g: CanvasRenderingContext2D, dots: Dot[], theme: Theme, seconds: number): void {
  for (const dot of dots) {
    const p = pointAt(dot.edge.curve, (dot.phase + seconds * dot.speed) % 1);
    g.fillStyle = css(dot.kind === 1 ? theme.tones.failure : theme.tones[dot.edge.tone]);
    g.fillRect(p.x - 2, p.y - 2, 4, 4);
  }
}

const sides: Record<string, number> = { diamond: 4, hexagon: 6, octagon: 8 };

function drawNode(g: CanvasRenderingContext2D, n: SceneNode, theme: Theme, marked: boolean): void {
  const tone = theme.tones[n.tone];
  g.globalAlpha = n.dim ? 0.2 : 1;
  g.beginPath();
  const corners = sides[n.shape];
  if (corners) {
    const turn = n.shape === "diamond" ? 0 : Math.PI / corners;
    for (let i = 0; i < corners; i++) g.lineTo(n.x + n.r * 1.15 * Math.cos(turn + (i * 2 * Math.PI) / corners), n.y + n.r * 1.15 * Math.sin(turn + (i * 2 * Math.PI) / corners));
    g.closePath();
  } else if (n.shape === "trapezoid") {
    g.moveTo(n.x - n.r * 0.6, n.y - n.r * 0.8); g.lineTo(n.x + n.r * 0.6, n.y - n.r * 0.8);
    g.lineTo(n.x + n.r, n.y + n.r * 0.8); g.lineTo(n.x - n.r, n.y + n.r * 0.8); g.closePath();
  } else if (n.shape === "circle") g.arc(n.x, n.y, n.r, 0, 7);
  else g.roundRect(n.x - n.r, n.y - n.r * 0.9, n.r * 2, n.r * 1.8, 6);
  g.fillStyle = css(theme.surface);
  g.fill();
  g.setLineDash(n.tone === "idle" ? [4, 3] : []);
  g.strokeStyle = marked ? css(theme.accent) : css(tone);
  g.lineWidth = n.tone === "failure" || marked ? 4 : 2.2;
  g.stroke();
  g.setLineDash([]);
  g.globalAlpha = 1;
}
