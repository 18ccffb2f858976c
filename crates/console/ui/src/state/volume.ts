// Requests and errors of the whole mesh over a span: behind the time line, and on the overview.
import { type Range, range, rateQueries, stepOf } from "../api/prometheus.ts";
import { type Loaded, useLoad } from "./load.ts";
import { onsets, type Onset } from "./onset.ts";

export interface Volume { range: Range; onsets: Onset[]; step: number }

export function useVolume(span: number, end: number): Loaded<Volume> {
  const step = stepOf(span);
  const to = Math.floor(end / step) * step;
  const from = to - span;
  const window = `${Math.max(60, step)}s`;
  return useLoad(`volume/${from}/${to}`, async (signal) => {
    const got = await range(rateQueries("", window, "5.."), from, to, signal);
    return { range: got, step, onsets: onsets(got.times, got.series[0].values, got.series[1].values) };
  });
}
