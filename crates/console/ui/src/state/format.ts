// Numbers, times and durations as people read them. SI units are the same in every language; days and hours are not.
import { t } from "../i18n/index.ts";

/** Three significant digits, with a unit of thousands. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return "–";
  const abs = Math.abs(value);
  if (abs === 0) return "0";
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]] as const) if (abs >= size * 0.9995) return `${digits(value / size)}${unit}`;
  return abs < 0.01 ? "<0.01" : digits(value);
}

function digits(value: number): string {
  const abs = Math.abs(value);
  const text = value.toFixed(abs >= 99.95 ? 0 : abs >= 9.995 ? 1 : 2);
  return text.includes(".") ? text.replace(/\.?0+$/, "") : text;
}

export function bytes(value: number): string {
  if (!Number.isFinite(value)) return "–";
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]] as const) if (Math.abs(value) >= size) return `${digits(value / size)} ${unit}`;
  return `${digits(value)} B`;
}

/** A share from 0 to 1. What is not nothing is not called nothing, what is not all is not called all. */
export function percent(share: number): string {
  if (!Number.isFinite(share)) return "–";
  const p = share * 100;
  if (p > 0 && p < 0.1) return "<0.1 %";
  if (p < 100 && p > 99.9) return ">99.9 %";
  return `${p.toFixed(p >= 10 || Number.isInteger(p) ? 0 : 1)} %`.replace("100 %", p < 100 ? "99.9 %" : "100 %");
}

/** Of milliseconds. */
export function duration(ms: number): string {
  if (!Number.isFinite(ms)) return "–";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${digits(ms)} ms`;
  if (ms < 60_000) return `${digits(ms / 1000)} s`;
  return span(ms / 1000);
}

/** Of seconds, in the two largest units. */
export function span(seconds: number): string {
  const s = Math.round(Math.abs(seconds));
  const parts = [[Math.floor(s / 86400), "day"], [Math.floor(s / 3600) % 24, "hour"], [Math.floor(s / 60) % 60, "minute"], [s % 60, "second"]] as const;
  const first = parts.findIndex(([n]) => n > 0);
  if (first < 0) return t("unit.second", { n: 0 });
  return parts.slice(first, first + 2).filter(([n]) => n > 0).map(([n, u]) => t(`unit.${u}`, { n })).join(" ");
}

const pad = (n: number, width = 2): string => String(n).padStart(width, "0");

/** Local time of the day, of seconds since the epoch. */
export function clock(seconds: number, fine = false): string {
  const d = new Date(seconds * 1000);
  return `${pad(d.getHours())}:${pad(d.getMinutes())}:${pad(d.getSeconds())}${fine ? `.${pad(d.getMilliseconds(), 3)}` : ""}`;
}

/** Local date and time, as ISO 8601 writes them: the same in every language. */
export function moment(seconds: number): string {
  const d = new Date(seconds * 1000);
  return `${d.getFullYear()}-${pad(d.getMonth() + 1)}-${pad(d.getDate())} ${clock(seconds)}`;
}

/** A code of HTTP or gRPC that says that it failed; `0` and `-`: no answer. */
export const isBad = (code: string): boolean => code === "0" || code === "-" || /^[45]\d\d$/.test(code) || /^([1-9]|1[0-6])$/.test(code);
