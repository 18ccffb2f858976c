// Keeps nodes where they were. A person remembers a graph by its places: what comes is put in, what goes leaves a gap, and
// what comes back stands where it stood. Pure.
import { type Layout, type Point, spacing } from "./layout.ts";

/** Places of all nodes that were seen, by key. */
export type Memory = Map<string, Point>;

/** More than this share of new nodes, and the picture is a new one. */
const NEW_PICTURE = 0.4;

export interface Placed {
  points: Map<string, Point>;
  /** Whether the old places were kept. */
  kept: boolean;
}

/** Places for the nodes of a fresh layout, given what is remembered, which is brought up to date. */
export function place(fresh: Layout, memory: Memory, groups: Map<string, string>): Placed {
  const keys = Object.keys(fresh.nodes);
  const known = keys.filter((key) => memory.has(key));
  if (known.length === 0 || (keys.length - known.length) / keys.length > NEW_PICTURE) {
    memory.clear();
    const points = new Map(keys.map((key) => [key, fresh.nodes[key]]));
    for (const [key, point] of points) memory.set(key, point);
    return { points, kept: false };
  }
  const points = new Map<string, Point>(known.map((key) => [key, memory.get(key)!]));
  for (const key of keys) {
    if (points.has(key)) continue;
    // The fresh place, moved as the nearest known node of the same group was moved.
    const wanted = fresh.nodes[key];
    const group = groups.get(key);
    const near = nearest(known.filter((k) => groups.get(k) === group), wanted, fresh) ?? nearest(known, wanted, fresh);
    const moved = near ? { x: memory.get(near)!.x - fresh.nodes[near].x, y: memory.get(near)!.y - fresh.nodes[near].y } : { x: 0, y: 0 };
    const point = free({ x: wanted.x + moved.x, y: wanted.y + moved.y }, points);
    points.set(key, point);
    memory.set(key, point);
  }
  return { points, kept: true };
}

function nearest(keys: string[], to: Point, fresh: Layout): string | null {
  let best: string | null = null;
  let least = Infinity;
  for (const key of keys) {
    const p = fresh.nodes[key];
    const distance = Math.hypot(p.x - to.x, p.y - to.y);
    if (distance < least) { least = distance; best = key; }
  }
  return best;
}

/** The place, or the nearest below or above it that nobody has. */
function free(wanted: Point, taken: Map<string, Point>): Point {
  const clash = (p: Point): boolean => [...taken.values()].some((t) => Math.abs(t.x - p.x) < spacing.x * 0.45 && Math.abs(t.y - p.y) < spacing.y * 0.8);
  for (let step = 0; step < 200; step++) {
    const dy = Math.ceil(step / 2) * spacing.y * 0.5 * (step % 2 ? 1 : -1);
    const p = { x: wanted.x, y: wanted.y + dy };
    if (!clash(p)) return p;
  }
  return wanted;
}
