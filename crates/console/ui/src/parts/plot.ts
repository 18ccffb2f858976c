// uPlot, dressed as the page is.
import uPlot from "uplot";
import type { Range } from "../api/prometheus.ts";
import { clock } from "../state/format.ts";
import type { Line } from "./chart.tsx";

export function plot(host: HTMLElement, range: Range, lines: Line[], height: number, format: (v: number) => string): () => void {
  const style = getComputedStyle(host);
  const colour = (name: string): string => style.getPropertyValue(`--${name}`).trim();
  const axis = {
    stroke: colour("muted"), font: `11px ${style.fontFamily}`, gap: 4,
    grid: { stroke: colour("line"), width: 1 }, ticks: { show: false },
  };
  const long = (range.times.at(-1) ?? 0) - (range.times[0] ?? 0) > 86400;
  const chart = new uPlot({
    width: host.clientWidth || 320,
    height,
    padding: [8, 6, 0, 0],
    cursor: { points: { size: 6 }, drag: { x: false, y: false } },
    legend: { show: true, live: true },
    scales: { x: { time: true }, y: { range: (_, min, max) => [Math.min(0, min), max > 0 ? max * 1.12 : 1] } },
    axes: [
      { ...axis, size: 22, values: (_, ticks) => ticks.map((s) => (long ? new Date(s * 1000).toISOString().slice(5, 10) : clock(s).slice(0, 5))) },
      { ...axis, size: 46, space: 30, values: (_, ticks) => ticks.map(format) },
    ],
    series: [
      { value: (_, v) => (v === null ? "–" : clock(v)) },
      ...lines.map((line) => ({
        label: line.name, stroke: colour(line.colour), width: 1.5, dash: line.dash, points: { show: false },
        fill: line.fill ? `${colour(line.colour)}22` : undefined,
        value: (_: uPlot, v: number | null) => (v === null ? "–" : format(v)),
      })),
    ],
  }, [range.times, ...range.series.map((s) => s.values)] as uPlot.AlignedData, host);
  const watch = new ResizeObserver(() => chart.setSize({ width: host.clientWidth, height }));
  watch.observe(host);
  return () => { watch.disconnect(); chart.destroy(); };
}
