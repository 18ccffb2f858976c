// Layered layout, left to right, that keeps each namespace in a box of its own. Pure; runs in a worker.
//
// 1. cycles are broken, nodes get ranks by longest path; 2. within each group, nodes of a rank are ordered by the barycentre
// of their neighbours; 3. heights are the least-squares fit to the neighbours' that keeps the order and the distances
// (pool adjacent violators), which makes chains straight; 4. groups are set where their neighbours want them, without
// overlap. Many groups are packed into shelves instead: one rank across the whole mesh would be a mile high.

import { margin } from "./margin.ts";

export interface LayoutInput {
  /** `cluster`: what stands together in its column; `place`: whose groups stand together, apart from others'. Empty or absent: nothing. */
  nodes: { key: string; group: string; cluster?: string; place?: string }[];
  edges: [source: string, target: string][];
}

export interface Point { x: number; y: number }
export interface Box { group: string; x: number; y: number; width: number; height: number }

export interface Layout {
  nodes: Record<string, Point>;
  /** Of each edge: how far its middle lies off the straight line, so that it does not run behind the nodes between its ends. */
  bows: number[];
  boxes: Box[];
}

export const spacing = { x: 174, y: 112, pad: 46, padTop: 58, gap: 44 };
/** From so many groups on they are packed. */
const MANY_GROUPS = 9;
const SWEEPS = 12;
/** Group of what stands for many, such as closed namespaces: all call all, so that ranks would say nothing. */
export const RING = "";
const RING_LEAST = 12;

export function layout(input: LayoutInput): Layout {
  const index = new Map(input.nodes.map((n, i) => [n.key, i]));
  const count = input.nodes.length;
  const edges: [number, number][] = [];
  const place: number[] = [];
  input.edges.forEach(([s, t], i) => {
    const a = index.get(s);
    const b = index.get(t);
    if (a !== undefined && b !== undefined && a !== b) { edges.push([a, b]); place.push(i); }
  });
  const groups = groupBy(input.nodes.map((n) => n.group));
  const packed = groups.length >= MANY_GROUPS;
  const groupOf = new Int32Array(count);
  groups.forEach((g, i) => g.members.forEach((m) => (groupOf[m] = i)));
  // Where groups are packed, a rank means something within its group only.
  const inRing = (node: number): boolean => isRing(groups[groupOf[node]]);
  const ranked = edges.filter(([a, b]) => (packed ? groupOf[a] === groupOf[b] : inRing(a) === inRing(b)));
  const { rank, forward } = rankNodes(count, ranked);

  const clusters = input.nodes.map((n) => n.cluster ?? "");
  const blocks = groups.map((g) => arrange(g.name, g.members, rank, forward, groupOf, clusters));
  if (!packed) setRingAside(blocks);
  const places = groups.map((g) => input.nodes[g.members[0]].place ?? "");
  const set = (of: Block[], blockOf: Int32Array): Offset[] => (packed ? shelves(of) : settle(of, edges, blockOf));
  const offsets = places.some(Boolean) ? apart(blocks, groupOf, places, set) : set(blocks, groupOf);
  const points: Point[] = new Array(count);
  const boxes: Box[] = [];
  blocks.forEach((block, i) => {
    const { dx, dy } = offsets[i];
    block.members.forEach((m, j) => (points[m] = { x: block.x[j] + dx, y: block.y[j] + dy }));
    boxes.push({ group: block.name, x: block.left + dx, y: block.top + dy, width: block.right - block.left, height: block.bottom - block.top });
  });
  const bows = new Array<number>(input.edges.length).fill(0);
  const bend = new Map(blocks.flatMap((b) => [...b.bends]));
  edges.forEach(([a, b], i) => {
    const y = bend.get(pair(a, b)) ?? bend.get(pair(b, a));
    if (y !== undefined) bows[place[i]] = y + offsets[groupOf[a]].dy - (points[a].y + points[b].y) / 2;
  });
  return { nodes: Object.fromEntries(input.nodes.map((n, i) => [n.key, points[i]])), bows, boxes };
}

const pair = (a: number, b: number): number => a * 65536 + b;

function groupBy(names: string[]): { name: string; members: number[] }[] {
  const found = new Map<string, number[]>();
  names.forEach((name, i) => (found.get(name) ?? found.set(name, []).get(name)!).push(i));
  return [...found].map(([name, members]) => ({ name, members }));
}

/** Ranks by longest path, and the edges turned so that all lead to a higher rank. */
function rankNodes(count: number, edges: [number, number][]): { rank: Int32Array; forward: [number, number][] } {
  const out: number[][] = Array.from({ length: count }, () => []);
  const indegree = new Int32Array(count);
  edges.forEach(([a, b], i) => { out[a].push(i); indegree[b]++; });
  // Depth first, from sources: an edge to a node that is still open closes a cycle and is turned.
  const state = new Uint8Array(count);
  const turned = new Uint8Array(edges.length);
  const starts = [...Array(count).keys()].sort((a, b) => Number(indegree[a] > 0) - Number(indegree[b] > 0) || a - b);
  for (const start of starts) {
    if (state[start]) continue;
    const stack: [number, number][] = [[start, 0]];
    state[start] = 1;
    while (stack.length) {
      const top = stack[stack.length - 1];
      const edge = out[top[0]][top[1]++];
      if (edge === undefined) { state[top[0]] = 2; stack.pop(); continue; }
      const to = edges[edge][1];
      if (state[to] === 1) turned[edge] = 1;
      else if (state[to] === 0) { state[to] = 1; stack.push([to, 0]); }
    }
  }
  const forward = edges.map(([a, b], i): [number, number] => (turned[i] ? [b, a] : [a, b]));
  const next: number[][] = Array.from({ length: count }, () => []);
  const waits = new Int32Array(count);
  for (const [a, b] of forward) { next[a].push(b); waits[b]++; }
  const rank = new Int32Array(count);
  const queue = [...Array(count).keys()].filter((i) => waits[i] === 0);
  const sources = [...queue];
  for (let i = 0; i < queue.length; i++) {
    for (const b of next[queue[i]]) {
      rank[b] = Math.max(rank[b], rank[queue[i]] + 1);
      if (--waits[b] === 0) queue.push(b);
    }
  }
  // A source stands right before what it calls.
  for (const s of sources) if (next[s].length) rank[s] = Math.min(...next[s].map((b) => rank[b])) - 1;
  return { rank, forward };
}

interface Block {
  name: string;
  members: number[];
  x: number[];
  y: number[];
  /** Height of the middle of edges that pass ranks between their ends. */
  bends: Map<number, number>;
  left: number; right: number; top: number; bottom: number;
}

/** One group by itself. */
function arrange(name: string, members: number[], rank: Int32Array, forward: [number, number][], groupOf: Int32Array, clusters: string[]): Block {
  const group = groupOf[members[0]];
  if (isRing({ name, members })) return ring(members, rank);
  const inner = forward.filter(([a, b]) => groupOf[a] === group && groupOf[b] === group);
  const touched = new Set(forward.flatMap(([a, b]) => (groupOf[a] === group || groupOf[b] === group ? [a, b] : [])));
  const linked = members.filter((m) => touched.has(m));
  const loose = members.filter((m) => !touched.has(m));
  const local = new Map<number, number>();
  const first = linked.length ? Math.min(...linked.map((m) => rank[m])) : 0;
  const last = linked.length ? Math.max(...linked.map((m) => rank[m])) : 0;

  // Vertices: members, then a dummy for each rank that an edge passes.
  const layers: number[][] = Array.from({ length: last - first + 1 }, () => []);
  const before: number[][] = [];
  const after: number[][] = [];
  const vertex = (layer: number): number => { before.push([]); after.push([]); layers[layer].push(before.length - 1); return before.length - 1; };
  for (const m of linked) local.set(m, vertex(rank[m] - first));
  const dummies = new Map<number, number[]>();
  for (const [a, b] of inner) {
    const chain: number[] = [local.get(a)!];
    for (let r = rank[a] + 1; r < rank[b]; r++) chain.push(vertex(r - first));
    chain.push(local.get(b)!);
    for (let i = 1; i < chain.length; i++) { after[chain[i - 1]].push(chain[i]); before[chain[i]].push(chain[i - 1]); }
    if (chain.length > 2) dummies.set(pair(a, b), chain.slice(1, -1));
  }
  order(layers, before, after);
  together(layers, linked.map((m) => clusters[m]));
  const y = heights(layers, before, after, linked.length);

  const xs = new Map<number, Point>();
  for (const m of linked) xs.set(m, { x: rank[m] * spacing.x, y: y[local.get(m)!] });
  const low = linked.length ? Math.min(...linked.map((m) => xs.get(m)!.y)) : 0;
  const high = linked.length ? Math.max(...linked.map((m) => xs.get(m)!.y)) : -spacing.y;
  // What has no edge stands in rows below.
  const columns = Math.max(last - first + 1, Math.ceil(Math.sqrt(loose.length / 2)), 1);
  loose.forEach((m, i) => xs.set(m, { x: (first + (i % columns)) * spacing.x, y: high + spacing.y * (1 + Math.floor(i / columns)) }));
  const points = members.map((m) => xs.get(m)!);
  const bottomY = Math.max(high, ...points.map((p) => p.y), low);
  const right = Math.max(...points.map((p) => p.x));
  const left = Math.min(...points.map((p) => p.x));
  const bends = new Map<number, number>();
  for (const [key, chain] of dummies) bends.set(key, chain.reduce((sum, v) => sum + y[v], 0) / chain.length);
  return {
    name, members, bends,
    x: points.map((p) => p.x),
    y: points.map((p) => p.y),
    left: left - spacing.x / 2 + 16,
    right: right + spacing.x / 2 - 16,
    top: Math.min(...points.map((p) => p.y), ...bends.values()) - spacing.padTop,
    bottom: Math.max(bottomY, ...bends.values()) + spacing.pad + 30,
  };
}

const isRing = (group: { name: string; members: number[] }): boolean => group.name === RING && group.members.length > RING_LEAST;

/** Left of all others, which have ranks of their own. */
function setRingAside(blocks: Block[]): void {
  const it = blocks.find(isRing);
  const others = blocks.filter((b) => b !== it);
  if (!it || !others.length) return;
  const dx = Math.min(...others.map((b) => b.left)) - spacing.gap * 2 - it.right;
  it.x = it.x.map((x) => x + dx);
  it.left += dx;
  it.right += dx;
}

/** On an ellipse, in the order of ranks: who calls whom often stands near. */
function ring(members: number[], rank: Int32Array): Block {
  const order = [...members.keys()].sort((a, b) => rank[members[a]] - rank[members[b]] || a - b);
  const rx = Math.max(320, (members.length * 116) / (2 * Math.PI) * 1.25);
  const ry = rx * 0.56;
  const x = new Array<number>(members.length);
  const y = new Array<number>(members.length);
  order.forEach((member, i) => {
    const angle = Math.PI + (i / members.length) * 2 * Math.PI;
    x[member] = rx * Math.cos(angle);
    y[member] = ry * Math.sin(angle);
  });
  const pad = spacing.x / 2;
  return { name: RING, members, x, y, bends: new Map(), left: -rx - pad, right: rx + pad, top: -ry - spacing.padTop, bottom: ry + spacing.pad + 18 };
}

/** Barycentre sweeps down and up; the order with the fewest crossings is kept. */
function order(layers: number[][], before: number[][], after: number[][]): void {
  const position = new Float64Array(before.length);
  const number = (layer: number[]): void => layer.forEach((v, i) => (position[v] = i));
  layers.forEach(number);
  const sort = (layer: number[], neighbours: number[][]): void => {
    const weight = new Map(layer.map((v) => {
      const near = neighbours[v];
      return [v, near.length ? near.reduce((s, n) => s + position[n], 0) / near.length : position[v]] as const;
    }));
    layer.sort((a, b) => weight.get(a)! - weight.get(b)! || position[a] - position[b]);
    number(layer);
  };
  let best = layers.map((l) => [...l]);
  let fewest = Infinity;
  for (let sweep = 0; sweep < SWEEPS && fewest > 0; sweep++) {
    if (sweep % 2 === 0) for (let i = 1; i < layers.length; i++) sort(layers[i], before);
    else for (let i = layers.length - 2; i >= 0; i--) sort(layers[i], after);
    const now = crossings(layers, after, position);
    if (now < fewest) { fewest = now; best = layers.map((l) => [...l]); }
  }
  best.forEach((l, i) => { layers[i] = l; number(l); });
}

/** Moves members of a cluster beside each other, to their middle. */
function together(layers: number[][], clusters: string[]): void {
  for (const layer of layers) {
    const sums = new Map<string, [number, number]>();
    layer.forEach((v, i) => { const c = clusters[v]; if (c) { const s = sums.get(c) ?? [0, 0]; sums.set(c, [s[0] + i, s[1] + 1]); } });
    if (![...sums.values()].some(([, count]) => count > 1)) continue;
    const place = new Map(layer.map((v, i) => { const s = sums.get(clusters[v] ?? ""); return [v, s ? s[0] / s[1] : i] as const; }));
    const old = new Map(layer.map((v, i) => [v, i] as const));
    layer.sort((a, b) => place.get(a)! - place.get(b)! || (clusters[a] ?? "").localeCompare(clusters[b] ?? "") || old.get(a)! - old.get(b)!);
  }
}

function crossings(layers: number[][], after: number[][], position: Float64Array): number {
  let count = 0;
  for (const layer of layers) {
    // Inversions among the far ends of edges in the order of their near ends, by a Fenwick tree.
    const ends = layer.flatMap((v) => after[v].map((n) => position[n]).sort((a, b) => a - b));
    const size = ends.length ? Math.max(...ends) + 2 : 0;
    const tree = new Int32Array(size + 1);
    ends.forEach((end, seen) => {
      let below = 0;
      for (let i = end + 1; i > 0; i -= i & -i) below += tree[i];
      count += seen - below;
      for (let i = end + 1; i <= size; i += i & -i) tree[i]++;
    });
  }
  return count;
}

/** Heights that are near to the neighbours' and keep the order. */
function heights(layers: number[][], before: number[][], after: number[][], real: number): Float64Array {
  const y = new Float64Array(before.length);
  const room = (v: number): number => (v < real ? spacing.y : spacing.y * 0.55);
  for (const layer of layers) {
    let at = 0;
    for (const v of layer) { y[v] = at; at += room(v); }
    const middle = at / 2;
    for (const v of layer) y[v] -= middle;
  }
  const fit = (layer: number[], near: (v: number) => number[]): void => {
    const want = layer.map((v) => { const n = near(v); return n.length ? n.reduce((s, u) => s + y[u], 0) / n.length : y[v]; });
    // Distances are taken out, so that keeping them is being monotone.
    const offset: number[] = [];
    let sum = 0;
    layer.forEach((v, i) => { if (i > 0) sum += (room(layer[i - 1]) + room(v)) / 2; offset.push(sum); });
    const fitted = monotone(want.map((w, i) => w - offset[i]), layer.map((v) => (near(v).length ? 1 : 0.1)));
    layer.forEach((v, i) => (y[v] = fitted[i] + offset[i]));
  };
  for (let round = 0; round < 4; round++) {
    for (const layer of layers) fit(layer, (v) => before[v]);
    for (const layer of [...layers].reverse()) fit(layer, (v) => after[v]);
    for (const layer of layers) fit(layer, (v) => [...before[v], ...after[v]]);
  }
  return y;
}

/** Pool adjacent violators: the monotone sequence that is nearest in the weighted least squares. */
export function monotone(values: number[], weights: number[]): number[] {
  const pools: { mean: number; weight: number; size: number }[] = [];
  values.forEach((value, i) => {
    pools.push({ mean: value, weight: weights[i], size: 1 });
    while (pools.length > 1 && pools[pools.length - 2].mean > pools[pools.length - 1].mean) {
      const b = pools.pop()!;
      const a = pools[pools.length - 1];
      const weight = a.weight + b.weight;
      a.mean = (a.mean * a.weight + b.mean * b.weight) / weight;
      a.weight = weight;
      a.size += b.size;
    }
  });
  return pools.flatMap((p) => new Array<number>(p.size).fill(p.mean));
}

interface Offset { dx: number; dy: number }

/** Groups of a place are set by themselves, then places and other groups beside each other, each as one. */
function apart(blocks: Block[], groupOf: Int32Array, places: string[], set: (of: Block[], blockOf: Int32Array) => Offset[]): Offset[] {
  const offsets: Offset[] = blocks.map(() => ({ dx: 0, dy: 0 }));
  const outer: { block: Block; inside: number[] }[] = [];
  for (const place of [...new Set(places)].sort()) {
    const inside = [...blocks.keys()].filter((i) => places[i] === place);
    if (!place) { outer.push(...inside.map((i) => ({ block: blocks[i], inside: [i] }))); continue; }
    const own = inside.map((i) => blocks[i]);
    set(own, groupOf.map((g) => inside.indexOf(g))).forEach((offset, i) => (offsets[inside[i]] = offset));
    outer.push({ block: union(own, inside.map((i) => offsets[i])), inside });
  }
  const outerOf = new Int32Array(blocks.length);
  outer.forEach((o, i) => o.inside.forEach((b) => (outerOf[b] = i)));
  set(outer.map((o) => o.block), groupOf.map((g) => outerOf[g])).forEach(({ dx, dy }, i) => {
    for (const b of outer[i].inside) offsets[b] = { dx: offsets[b].dx + dx, dy: offsets[b].dy + dy };
  });
  return offsets;
}

function union(blocks: Block[], at: Offset[]): Block {
  const all = <T>(of: (block: Block, offset: Offset) => T[]): T[] => blocks.flatMap((b, i) => of(b, at[i]));
  return {
    name: "", bends: new Map(),
    members: all((b) => b.members), x: all((b, o) => b.x.map((x) => x + o.dx)), y: all((b, o) => b.y.map((y) => y + o.dy)),
    left: Math.min(...all((b, o) => [b.left + o.dx])) - margin.side, right: Math.max(...all((b, o) => [b.right + o.dx])) + margin.side,
    top: Math.min(...all((b, o) => [b.top + o.dy])) - margin.top, bottom: Math.max(...all((b, o) => [b.bottom + o.dy])) + margin.bottom,
  };
}

/** Sets the largest group first, each other one at the free place nearest to where its edges pull it. */
function settle(blocks: Block[], edges: [number, number][], groupOf: Int32Array): Offset[] {
  const offsets = blocks.map(() => ({ dx: 0, dy: 0 }));
  const own = new Map<number, number>();
  blocks.forEach((b) => b.members.forEach((m, j) => own.set(m, b.y[j])));
  const placed: number[] = [];
  const waiting = [...blocks.keys()].sort((a, b) => blocks[b].members.length - blocks[a].members.length);
  for (const i of waiting) {
    const block = blocks[i];
    const pulls: number[] = [];
    for (const [a, b] of edges) {
      const [ga, gb] = [groupOf[a], groupOf[b]];
      if (ga === i && placed.includes(gb)) pulls.push(own.get(b)! + offsets[gb].dy - own.get(a)!);
      if (gb === i && placed.includes(ga)) pulls.push(own.get(a)! + offsets[ga].dy - own.get(b)!);
    }
    const wanted = pulls.length ? pulls.reduce((s, p) => s + p, 0) / pulls.length : 0;
    const taken = placed
      .filter((p) => blocks[p].left < block.right && block.left < blocks[p].right)
      .map((p) => [blocks[p].top + offsets[p].dy - spacing.gap - block.bottom, blocks[p].bottom + offsets[p].dy + spacing.gap - block.top]);
    const free = [wanted, ...taken.flat()].filter((y) => !taken.some(([from, to]) => y > from + 0.01 && y < to - 0.01));
    free.sort((a, b) => Math.abs(a - wanted) - Math.abs(b - wanted) || b - a);
    offsets[i] = { dx: 0, dy: free[0] };
    placed.push(i);
  }
  return offsets;
}

/** Rows of blocks, about as wide as a screen is. */
function shelves(blocks: Block[]): Offset[] {
  const area = blocks.reduce((s, b) => s + (b.right - b.left + spacing.gap) * (b.bottom - b.top + spacing.gap), 0);
  const width = Math.sqrt(area * 1.9);
  const offsets = blocks.map(() => ({ dx: 0, dy: 0 }));
  const byHeight = [...blocks.keys()].sort((a, b) => (blocks[b].bottom - blocks[b].top) - (blocks[a].bottom - blocks[a].top) || a - b);
  let [x, y, tall] = [0, 0, 0];
  for (const i of byHeight) {
    const b = blocks[i];
    const [w, h] = [b.right - b.left, b.bottom - b.top];
    if (x > 0 && x + w > width) { x = 0; y += tall + spacing.gap; tall = 0; }
    offsets[i] = { dx: x - b.left, dy: y - b.top };
    x += w + spacing.gap;
    tall = Math.max(tall, h);
  }
  return offsets;
}
