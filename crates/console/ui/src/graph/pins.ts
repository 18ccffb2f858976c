// Places that somebody gave to nodes by hand. Kept for each picture as long as the tab is open, so that a reload finds them.
import type { Point } from "./layout.ts";

export type Pins = Map<string, Point>;

const name = (picture: string): string => `pins/${picture}`;

export function readPins(picture: string): Pins {
  try {
    const kept = JSON.parse(sessionStorage.getItem(name(picture)) ?? "[]") as [string, Point][];
    return new Map(kept.filter(([key, p]) => typeof key === "string" && Number.isFinite(p?.x) && Number.isFinite(p?.y)));
  } catch { return new Map(); }
}

export function keepPins(picture: string, pins: Pins): void {
  try {
    if (pins.size) sessionStorage.setItem(name(picture), JSON.stringify([...pins].map(([key, p]) => [key, { x: Math.round(p.x), y: Math.round(p.y) }])));
    else sessionStorage.removeItem(name(picture));
  } catch { /* private mode: they live as long as the page */ }
}
