// Where one looks: `screen = world * zoom + offset`. Pure.
import type { Point } from "./layout.ts";

export interface Camera { x: number; y: number; zoom: number }
export interface Rect { left: number; top: number; right: number; bottom: number }

export const zoomLimits = { least: 0.02, most: 3 };

export const toScreen = (c: Camera, p: Point): Point => ({ x: p.x * c.zoom + c.x, y: p.y * c.zoom + c.y });
export const toWorld = (c: Camera, p: Point): Point => ({ x: (p.x - c.x) / c.zoom, y: (p.y - c.y) / c.zoom });

/** Zooms so that what is under the pointer stays there. */
export function zoomAt(c: Camera, at: Point, factor: number): Camera {
  const zoom = Math.min(zoomLimits.most, Math.max(zoomLimits.least, c.zoom * factor));
  const world = toWorld(c, at);
  return { zoom, x: at.x - world.x * zoom, y: at.y - world.y * zoom };
}

/** Shows all of it, not larger than life. */
export function fit(box: Rect, width: number, height: number, margin = 28): Camera {
  const w = Math.max(1, box.right - box.left);
  const h = Math.max(1, box.bottom - box.top);
  const zoom = Math.min(1.25, Math.max(zoomLimits.least, Math.min((width - 2 * margin) / w, (height - 2 * margin) / h)));
  return { zoom, x: width / 2 - ((box.left + box.right) / 2) * zoom, y: height / 2 - ((box.top + box.bottom) / 2) * zoom };
}
