// The picture in the page: gives the engine its scene, walks the graph by keys, and says in words what is in focus.
import type { JSX, TargetedKeyboardEvent } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { t } from "../i18n/index.ts";
import { theme, view, go } from "../state/store.ts";
import { Icon } from "../parts/icons.tsx";
import { groupKey, isGroup } from "./aggregate.ts";
import { arrange } from "./arrange.ts";
import { Engine } from "./engine.ts";
import type { Hit } from "./hit.ts";
import { edgeId, errorShare, type GraphModel, statusOf } from "./model.ts";
import type { Point } from "./layout.ts";
import { buildScene, type Marks } from "./scene.ts";
import { type Memory, place } from "./stable.ts";
import { keepPins, type Pins, readPins } from "./pins.ts";
import { clusterOf } from "./apps.ts";
import { placeOf, severalClusters } from "./clusters.ts";
import { edgeLines, fullName, idleWord } from "./words.ts";
import { expose } from "./expose.ts";
import { healthWord } from "../parts/health.tsx";
import { percent } from "../state/format.ts";
import { Legend } from "./legend.tsx";
import { Popover } from "../parts/popover.tsx";

interface Placing { points: Map<string, Point>; bows: Map<string, number>; shape: string }

/** Places are remembered for each kind of graph for as long as the page is open. */
const memories = new Map<string, Memory>();

export function GraphView({ model, marks }: { model: GraphModel; marks: Marks }): JSX.Element {
  const host = useRef<HTMLDivElement>(null);
  const picture = useRef<HTMLCanvasElement>(null);
  const letters = useRef<HTMLCanvasElement>(null);
  const engine = useRef<Engine | null>(null);
  const [placing, setPlacing] = useState<Placing | null>(null);
  const [hover, setHover] = useState<{ text: string; x: number; y: number } | null>(null);
  const [spoken, speak] = useState("");
  const v = view.value;
  const now = useRef(model);
  now.current = model;

  const shape = useMemo(() => [...model.nodes.keys()].sort().join("|") + "#" + [...model.edges.keys()].sort().join("|"), [model]);
  const memoryKey = `${model.graphType}/${v.namespaces.join(",")}/${v.show.all}/${v.show.services}/${v.opened.join(",")}`;

  const [pins, setPins] = useState<Pins>(() => readPins(memoryKey));
  useEffect(() => setPins(readPins(memoryKey)), [memoryKey]);
  const pin = (key: string, at: Point | null, keep = true): void => setPins((old) => {
    const next = new Map(old);
    if (at) next.set(key, at); else next.delete(key);
    if (keep) keepPins(memoryKey, next);
    return next;
  });
  const doing = useRef({ pin, pins });
  doing.current = { pin, pins };

  useEffect(() => {
    let gone = false;
    const several = severalClusters(model.nodes.values());
    const nodes = [...model.nodes.values()].map((n) => {
      const place = several ? placeOf(n) : "";
      const group = isGroup(n.key) ? "" : n.egress || n.kind === "unknown" ? `~${n.key}` : place ? `${place}/${n.namespace}` : n.namespace;
      return { key: n.key, cluster: clusterOf(n, model.graphType), place, group };
    });
    const edges = [...model.edges.values()];
    void arrange({ nodes, edges: edges.map((e) => [e.source, e.target]) }).then((fresh) => {
      if (gone) return;
      const memory = memories.get(memoryKey) ?? new Map<string, Point>();
      memories.set(memoryKey, memory);
      const placed = place(fresh, memory, new Map(nodes.map((n) => [n.key, n.group])));
      if (!placed.kept) engine.current?.refit();
      setPlacing({ points: placed.points, bows: new Map(edges.map((e, i) => [edgeId(e), fresh.bows[i]])), shape });
    });
    return () => { gone = true; };
  }, [shape, memoryKey]);

  useEffect(() => {
    const select = (hit: Hit): void => go({ selected: hit === null ? "" : hit.kind === "node" ? hit.key : hit.id }, "push");
    const made = new Engine(host.current!, picture.current!, letters.current!, {
      hover: (hit, x, y) => setHover(hit ? { text: describe(now.current, hit), x, y } : null),
      select,
      open: (hit) => {
        if (hit?.kind !== "node") return;
        if (doing.current.pins.has(hit.key)) doing.current.pin(hit.key, null);
        else if (isGroup(hit.key)) openGroup(hit.key);
      },
      move: (key, x, y, done) => { setHover(null); doing.current.pin(key, { x, y }, done); },
      menu: (hit) => select(hit),
    }, { edge: () => [], note: () => "", box: () => "", security: true, badges: true }, new URLSearchParams(location.search).get("renderer") === "2d");
    engine.current = made;
    expose(made);
    return () => { made.dispose(); expose(null); engine.current = null; };
  }, []);

  useEffect(() => {
    if (!engine.current || !placing) return;
    const scene = buildScene(model, placing.points, placing.bows, marks, pins);
    scene.boxes = scene.boxes.filter((b) => v.show[b.kind === "app" ? "apps" : b.kind === "cluster" ? "clusters" : "boxes"]);
    engine.current.animate = v.show.animation && !matchMedia("(prefers-reduced-motion: reduce)").matches;
    engine.current.setScene(scene, v.selected || null, {
      note: (n) => (n.node.idle ? idleWord(n.node.idle) : ""),
      box: (b) => (b.kind === "cluster" ? t("graph.cluster", { name: b.name }) : b.name), security: v.show.security, badges: v.show.badges,
      edge: (e) => edgeLines(e.edge, v.labels, v.stat, e.source.node.traffic[e.edge.protocol].outgoing.total),
    });
  }, [model, placing, pins, marks, v.show, v.labels, v.stat, v.selected]);

  const chosen = theme.value;
  useEffect(() => {
    // After the style sheet has taken the new theme.
    const later = requestAnimationFrame(() => engine.current?.retheme());
    const media = matchMedia("(prefers-color-scheme: dark)");
    const changed = (): void => engine.current?.retheme();
    media.addEventListener("change", changed);
    return () => { cancelAnimationFrame(later); media.removeEventListener("change", changed); };
  }, [chosen]);

  const keys = (e: TargetedKeyboardEvent<HTMLElement>): void => {
    const it = engine.current;
    if (!it || e.target !== e.currentTarget) return;
    if (e.key === "+" || e.key === "=") it.zoom(1.25);
    else if (e.key === "-") it.zoom(0.8);
    else if (e.key === "0") it.fitAll();
    else if (e.key === "Escape") go({ selected: "" });
    else if (e.key.startsWith("Arrow") && e.altKey) {
      const n = it.current.byKey.get(v.selected);
      if (n) pin(n.key, { x: n.x - pans[e.key][0] / 4, y: n.y - pans[e.key][1] / 4 });
    } else if (e.key === "Backspace" && pins.has(v.selected)) pin(v.selected, null);
    else if (e.key.startsWith("Arrow") && e.shiftKey) it.pan(...pans[e.key]);
    else if (e.key.startsWith("Arrow")) {
      const next = walk(it, v.selected, e.key);
      if (next) { go({ selected: next }); it.reveal(next); speak(describe(model, { kind: "node", key: next })); }
    } else if (e.key === "Enter" && isGroup(v.selected)) openGroup(v.selected);
    else if (e.key === "Enter") document.getElementById("panel")?.focus();
    else return;
    e.preventDefault();
  };

  return (
    <div class="graph-view">
      <div ref={host} class="graph-host" tabIndex={0} role="application" aria-roledescription="graph" onKeyDown={keys}
        aria-label={t("graph.canvas", { nodes: model.nodes.size, edges: model.edges.size })} data-placed={placing?.shape === shape ? "true" : undefined}>
        <canvas ref={picture} aria-hidden="true" />
        <canvas ref={letters} aria-hidden="true" />
      </div>
      {hover && <div class="tip" style={{ left: `${hover.x + 14}px`, top: `${hover.y + 14}px` }}>{hover.text.split("\n").map((l) => <div key={l}>{l}</div>)}</div>}
      <div class="sr" aria-live="polite">{spoken}</div>
      <div class="graph-controls">
        <button type="button" class="icon-button" aria-label={t("graph.zoomIn")} title={t("graph.zoomIn")} onClick={() => engine.current?.zoom(1.3)}><Icon name="plus" /></button>
        <button type="button" class="icon-button" aria-label={t("graph.zoomOut")} title={t("graph.zoomOut")} onClick={() => engine.current?.zoom(0.77)}><Icon name="minus" /></button>
        <button type="button" class="icon-button" aria-label={t("graph.fit")} title={t("graph.fit")} onClick={() => engine.current?.fitAll()}><Icon name="fit" /></button>
        {pins.size > 0 && <button type="button" class="button" title={t("graph.unpin.how")} onClick={() => { keepPins(memoryKey, new Map()); setPins(new Map()); }}><Icon name="pin" size={15} />{t("graph.unpin", { count: pins.size })}</button>}
        <Popover label={t("graph.legend")} id="legend"><Legend /></Popover>
      </div>
    </div>
  );
}

export function openGroup(key: string): void {
  const namespace = key.replace(/^ns:/, "");
  const opened = view.peek().opened;
  if (!opened.includes(namespace)) go({ opened: [...opened, namespace], selected: "" }, "push");
}

export function closeGroup(namespace: string): void {
  go({ opened: view.peek().opened.filter((n) => n !== namespace), selected: groupKey(namespace) }, "push");
}

const pans: Record<string, [number, number]> = { ArrowLeft: [80, 0], ArrowRight: [-80, 0], ArrowUp: [0, 80], ArrowDown: [0, -80] };

/** Right and left go along edges; up and down to the next node in the same column, or the nearest one. */
function walk(engine: Engine, from: string, key: string): string | null {
  const { nodes, edges, byKey } = engine.current;
  const here = byKey.get(from);
  if (!here) return nodes.slice().sort((a, b) => a.x - b.x || a.y - b.y)[0]?.key ?? null;
  if (key === "ArrowRight" || key === "ArrowLeft") {
    const along = edges.filter((e) => (key === "ArrowRight" ? e.source : e.target) === here).map((e) => (key === "ArrowRight" ? e.target : e.source));
    along.sort((a, b) => Math.abs(a.y - here.y) - Math.abs(b.y - here.y));
    if (along[0] && along[0] !== here) return along[0].key;
  }
  const [dx, dy] = ({ ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] } as Record<string, [number, number]>)[key];
  let best: string | null = null;
  let least = Infinity;
  for (const n of nodes) {
    const ahead = (n.x - here.x) * dx + (n.y - here.y) * dy;
    const aside = Math.abs((n.x - here.x) * dy) + Math.abs((n.y - here.y) * dx);
    if (ahead > 1 && ahead + aside * 2.5 < least) { least = ahead + aside * 2.5; best = n.key; }
  }
  return best;
}

function describe(model: GraphModel, hit: NonNullable<Hit>): string {
  if (hit.kind === "node") {
    const node = model.nodes.get(hit.key);
    if (!node) return "";
    const status = node.health ? healthWord(statusOf(node.health)) : "";
    return [fullName(node, model.graphType), [node.namespace, status].filter(Boolean).join(" · ")].join("\n");
  }
  const edge = model.edges.get(hit.id);
  if (!edge) return "";
  const [s, d] = [model.nodes.get(edge.source)!, model.nodes.get(edge.target)!];
  const lines = edgeLines(edge, ["rate", "time"], view.peek().stat, 0);
  const errors = errorShare(edge.rates);
  return [`${fullName(s, model.graphType)} → ${fullName(d, model.graphType)}`, [edge.protocol.toUpperCase(), ...lines, edge.security?.mtls ? `mTLS ${percent(edge.security.mtls)}` : "", errors > 0 && lines.length < 2 ? percent(errors) : ""].filter(Boolean).join(" · ")].join("\n");
}
