// The picture on the screen: holds the canvases, the camera and the loop; tells what was pointed at. The page gives it a
// scene; it knows nothing of where that comes from.
import { boundsOf, type Scene } from "./scene.ts";
import { type Camera, fit, toScreen, toWorld, zoomAt } from "./camera.ts";
import { canvas2d } from "./canvas2d.ts";
import { type Renderer, webgl } from "./gl.ts";
import { type Hit, hit } from "./hit.ts";
import { drawLabels, type LabelOptions } from "./labels.ts";
import { readTheme, type Theme } from "./theme.ts";

export interface Handlers {
  hover: (hit: Hit, x: number, y: number) => void;
  select: (hit: Hit) => void;
  open: (hit: Hit) => void;
  /** A node is dragged to a place of the world; at last `done`. */
  move: (key: string, x: number, y: number, done: boolean) => void;
  menu: (hit: Hit, x: number, y: number) => void;
}

export class Engine {
  private renderer: Renderer;
  private text: CanvasRenderingContext2D;
  private scene: Scene = { nodes: [], edges: [], boxes: [], byKey: new Map() };
  private theme: Theme;
  private camera: Camera = { x: 0, y: 0, zoom: 1 };
  private goal: Camera | null = null;
  private size = { width: 1, height: 1 };
  private selected: string | null = null;
  private stale = true;
  private running = 0;
  private fitted = false;
  private drawn = false;
  private touched = false;
  private readonly observer: ResizeObserver;
  private readonly stop = new AbortController();
  private pointers = new Map<number, { x: number; y: number }>();
  private moved = 0;
  /** The node that is held, and where in it. */
  private held: { key: string; dx: number; dy: number } | null = null;
  animate = true;
  frames = 0;

  constructor(
    private readonly host: HTMLElement,
    picture: HTMLCanvasElement,
    private readonly letters: HTMLCanvasElement,
    private readonly handlers: Handlers,
    private options: LabelOptions,
    force2d = false,
  ) {
    this.renderer = (force2d ? null : webgl(picture)) ?? canvas2d(picture);
    this.text = letters.getContext("2d")!;
    this.theme = readTheme(host);
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(host);
    this.listen();
    this.resize();
  }

  get rendererName(): string { return this.renderer.name; }

  setScene(scene: Scene, selected: string | null, options: LabelOptions): void {
    this.scene = scene;
    this.selected = selected;
    this.options = options;
    this.renderer.setScene(scene, this.theme, selected);
    if (!this.fitted && scene.nodes.length) this.fitAll(false);
    this.redraw();
  }

  /** Colours have changed. */
  retheme(): void {
    this.theme = readTheme(this.host);
    this.renderer.setScene(this.scene, this.theme, this.selected);
    this.redraw();
  }

  /** Forget where one looked: another graph comes. */
  refit(): void { this.fitted = false; this.touched = false; }

  fitAll(smooth = true): void {
    const goal = fit(boundsOf(this.scene), this.size.width, this.size.height);
    this.fitted = this.scene.nodes.length > 0;
    this.touched = false;
    this.move(goal, smooth);
  }

  zoom(factor: number): void {
    this.touched = true;
    this.move(zoomAt(this.goal ?? this.camera, { x: this.size.width / 2, y: this.size.height / 2 }, factor), true);
  }

  pan(dx: number, dy: number): void {
    const from = this.goal ?? this.camera;
    this.touched = true;
    this.move({ ...from, x: from.x + dx, y: from.y + dy }, true);
  }

  /** Brings a node into the picture, if it is not. */
  reveal(key: string): void {
    const n = this.scene.byKey.get(key);
    if (!n) return;
    const p = toScreen(this.camera, n);
    const inside = p.x > 60 && p.y > 60 && p.x < this.size.width - 60 && p.y < this.size.height - 60;
    if (!inside) this.move({ ...this.camera, x: this.size.width / 2 - n.x * this.camera.zoom, y: this.size.height / 2 - n.y * this.camera.zoom }, true);
  }

  screen(x: number, y: number): { x: number; y: number } { return toScreen(this.camera, { x, y }); }
  get view(): Camera { return this.camera; }
  get current(): Scene { return this.scene; }

  dispose(): void {
    this.stop.abort();
    this.observer.disconnect();
    cancelAnimationFrame(this.running);
    this.running = -1;
    this.renderer.dispose();
  }

  private resize(): void {
    const { clientWidth: width, clientHeight: height } = this.host;
    if (width === 0 || height === 0) return;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    this.size = { width, height };
    this.renderer.resize(width, height, ratio);
    this.letters.width = width * ratio;
    this.letters.height = height * ratio;
    this.text.setTransform(ratio, 0, 0, ratio, 0, 0);
    // Until somebody has moved it, all of it stays in view.
    if (this.scene.nodes.length && !this.touched) this.fitAll(false);
    this.redraw();
  }

  private move(goal: Camera, smooth: boolean): void {
    if (smooth && !matchMedia("(prefers-reduced-motion: reduce)").matches) this.goal = goal;
    else { this.camera = goal; this.goal = null; }
    this.redraw();
  }

  redraw(): void {
    this.stale = true;
    if (this.running === 0) this.running = requestAnimationFrame(this.frame);
  }

  private frame = (now: number): void => {
    this.running = 0;
    if (this.goal) {
      const c = this.camera;
      const near = (a: number, b: number): number => a + (b - a) * 0.3;
      this.camera = { x: near(c.x, this.goal.x), y: near(c.y, this.goal.y), zoom: near(c.zoom, this.goal.zoom) };
      if (Math.abs(this.camera.zoom - this.goal.zoom) < 0.0015 && Math.hypot(this.camera.x - this.goal.x, this.camera.y - this.goal.y) < 0.6) {
        this.camera = this.goal;
        this.goal = null;
      }
      this.stale = true;
    }
    this.renderer.draw(this.camera, now / 1000, this.animate);
    if (!this.drawn) this.mark();
    if (this.stale) {
      this.stale = false;
      drawLabels(this.text, this.scene, this.camera, this.theme, this.options, this.size.width, this.size.height);
    }
    this.frames++;
    // At rest nothing is drawn: a still picture costs nothing.
    if (this.goal || this.stale || (this.animate && this.scene.edges.length && !document.hidden)) this.running = requestAnimationFrame(this.frame);
  };

  /** Tells whoever measures the page when its graph was first there. */
  private mark(): void {
    if (!this.scene.nodes.length) return;
    this.drawn = true;
    performance.mark("graph-drawn");
  }

  private at(event: MouseEvent): { x: number; y: number; hit: Hit } {
    const box = this.host.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const w = toWorld(this.camera, { x, y });
    return { x, y, hit: hit(this.scene, w.x, w.y, this.camera.zoom) };
  }

  private listen(): void {
    const on = <K extends keyof HTMLElementEventMap>(name: K, f: (e: HTMLElementEventMap[K]) => void, passive = true): void =>
      this.host.addEventListener(name, f, { signal: this.stop.signal, passive });
    on("wheel", (e) => {
      e.preventDefault();
      const box = this.host.getBoundingClientRect();
      this.touched = true;
      this.goal = null;
      this.camera = zoomAt(this.camera, { x: e.clientX - box.left, y: e.clientY - box.top }, Math.exp(-e.deltaY * (e.ctrlKey ? 0.01 : 0.0016)));
      this.redraw();
    }, false);
    on("pointerdown", (e) => {
      if (e.button !== 0 || (e.target as Element).closest("button, a")) return;
      this.pointers.set(e.pointerId, { x: e.clientX, y: e.clientY });
      this.moved = 0;
      this.hold(e);
      this.host.setPointerCapture(e.pointerId);
    });
    on("pointermove", (e) => this.drag(e));
    on("pointerup", (e) => {
      if (!this.pointers.delete(e.pointerId)) return;
      if (this.moved < 4) this.handlers.select(this.at(e).hit);
      else this.carry(e, true);
      this.held = null;
    });
    on("pointercancel", (e) => { this.pointers.delete(e.pointerId); this.held = null; });
    on("pointerleave", () => this.handlers.hover(null, 0, 0));
    on("dblclick", (e) => this.handlers.open(this.at(e).hit));
    on("contextmenu", (e) => {
      const { hit: what, x, y } = this.at(e);
      if (what) { e.preventDefault(); this.handlers.menu(what, x, y); }
    }, false);
    document.addEventListener("visibilitychange", () => this.redraw(), { signal: this.stop.signal });
  }

  private hold(e: PointerEvent): void {
    const { hit: what, x, y } = this.at(e);
    const node = what?.kind === "node" ? this.scene.byKey.get(what.key) : undefined;
    const w = toWorld(this.camera, { x, y });
    this.held = node ? { key: node.key, dx: node.x - w.x, dy: node.y - w.y } : null;
  }

  private carry(e: PointerEvent, done: boolean): void {
    if (!this.held) return;
    const box = this.host.getBoundingClientRect();
    const w = toWorld(this.camera, { x: e.clientX - box.left, y: e.clientY - box.top });
    // All of it need not stay in view any more: somebody arranges it.
    this.touched = true;
    this.host.style.cursor = "grabbing";
    this.handlers.move(this.held.key, w.x + this.held.dx, w.y + this.held.dy, done);
  }

  private drag(e: PointerEvent): void {
    const old = this.pointers.get(e.pointerId);
    if (!old) {
      const { hit: what, x, y } = this.at(e);
      this.host.style.cursor = what ? "pointer" : "grab";
      this.handlers.hover(what, x, y);
      return;
    }
    const others = [...this.pointers].filter(([id]) => id !== e.pointerId);
    const now = { x: e.clientX, y: e.clientY };
    if (others.length === 1) {
      // Two fingers: their distance is the zoom.
      const other = others[0][1];
      const box = this.host.getBoundingClientRect();
      const factor = Math.hypot(now.x - other.x, now.y - other.y) / Math.max(1, Math.hypot(old.x - other.x, old.y - other.y));
      this.camera = zoomAt(this.camera, { x: (now.x + other.x) / 2 - box.left, y: (now.y + other.y) / 2 - box.top }, factor);
    }
    this.moved += Math.abs(now.x - old.x) + Math.abs(now.y - old.y);
    if (this.moved >= 4 && this.held && others.length === 0) this.carry(e, false);
    else if (this.moved >= 4) {
      this.touched = true;
      this.goal = null;
      this.camera = { ...this.camera, x: this.camera.x + now.x - old.x, y: this.camera.y + now.y - old.y };
      this.host.style.cursor = "grabbing";
      this.redraw();
    }
    this.pointers.set(e.pointerId, now);
  }
}
