// A line chart over time. uPlot is loaded when the first chart is.
import { useEffect, useRef } from "preact/hooks";
import type { JSX } from "preact";
import type { Range } from "../api/prometheus.ts";
import { language } from "../i18n/index.ts";
import { theme } from "../state/store.ts";

export interface Line { name: string; colour: string; fill?: boolean; dash?: number[] }

export function Chart({ range, lines, height = 120, format, label }: {
  range: Range; lines: Line[]; height?: number; format: (v: number) => string; label: string;
}): JSX.Element {
  const host = useRef<HTMLDivElement>(null);
  const look = `${theme.value}${language.value}`;
  useEffect(() => {
    let stop = (): void => undefined;
    let gone = false;
    void import("./plot.ts").then(({ plot }) => {
      if (!gone && host.current) stop = plot(host.current, range, lines, height, format);
    });
    return () => { gone = true; stop(); };
  }, [range, look]);
  const last = range.series.map((s) => `${s.name} ${format(s.values.findLast((v) => v !== null) ?? NaN)}`).join(", ");
  return (
    <figure class="chart">
      <figcaption>{label}</figcaption>
      <div ref={host} role="img" aria-label={`${label}: ${last}`} style={{ height: `${height}px` }} />
    </figure>
  );
}
