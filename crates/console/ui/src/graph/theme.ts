// Colours of the canvas, read from the style sheet so that there is one place for them; and the patterns that say the same
// without colour.
import type { Tone } from "./model.ts";

export type Rgba = [number, number, number, number];

export interface Theme {
  tones: Record<Tone, Rgba>;
  surface: Rgba;
  ground: Rgba;
  box: Rgba;
  boxLine: Rgba;
  text: string;
  muted: string;
  pill: string;
  accent: Rgba;
  font: string;
}

/** Line patterns: 0 solid, 1 dashed, 2 dotted, 3 double, 4 dash-dot. */
export const patterns: Record<Tone, number> = { mtls: 0, plain: 1, tcp: 0, degraded: 4, failure: 3, idle: 2 };
export const widths: Record<Tone, number> = { mtls: 2, plain: 2, tcp: 2, degraded: 2.5, failure: 4.5, idle: 1.2 };

export function rgba(css: string): Rgba {
  const hex = /^#([0-9a-f]{6})([0-9a-f]{2})?$/i.exec(css.trim());
  if (!hex) return [0.5, 0.5, 0.5, 1];
  const part = (i: number): number => parseInt(hex[1].slice(i, i + 2), 16) / 255;
  return [part(0), part(2), part(4), hex[2] ? parseInt(hex[2], 16) / 255 : 1];
}

export function readTheme(element: Element): Theme {
  const style = getComputedStyle(element);
  const get = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  return {
    tones: {
      mtls: rgba(get("tone-mtls")), plain: rgba(get("tone-plain")), tcp: rgba(get("tone-tcp")),
      degraded: rgba(get("tone-degraded")), failure: rgba(get("tone-failure")), idle: rgba(get("tone-idle")),
    },
    surface: rgba(get("node")), ground: rgba(get("ground")), box: rgba(get("box")), boxLine: rgba(get("box-line")),
    text: get("text"), muted: get("muted"), pill: get("pill"), accent: rgba(get("accent")),
    font: style.fontFamily,
  };
}

export const css = (c: Rgba, alpha = c[3]): string =>
  `rgba(${Math.round(c[0] * 255)},${Math.round(c[1] * 255)},${Math.round(c[2] * 255)},${alpha})`;
