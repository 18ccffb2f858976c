// Charts of the panel: the window before the moment that is looked at.
import type { JSX } from "preact";
import { byteQueries, range, rateQueries, timeQueries } from "../api/prometheus.ts";
import { t } from "../i18n/index.ts";
import { Chart } from "../parts/chart.tsx";
import { bytes, duration, short } from "../state/format.ts";
import { useLoad } from "../state/load.ts";
import { liveTurn, view } from "../state/store.ts";

const timeLines = [{ name: "P50", colour: "tone-tcp", dash: [3, 3] }, { name: "P95", colour: "tone-tcp" }, { name: "P99", colour: "tone-degraded" }];

/** `selector` names the traffic in PromQL, `reporter` who tells of its times and bytes. */
export function TrafficCharts({ selector, reporter, tcp = false }: { selector: string; reporter: string; tcp?: boolean }): JSX.Element {
  // Live charts move on every ten seconds, not at every tick.
  const end = view.value.at ?? liveTurn.value;
  const start = end - Math.max(900, view.value.window * 1.5);
  const key = `${selector}/${reporter}/${start}/${end}`;
  const first = useLoad(`r${key}`, (signal) => range(tcp ? byteQueries(selector, reporter, "1m") : rateQueries(selector, "1m"), start, end, signal));
  const times = useLoad(`t${tcp}${key}`, (signal) => (tcp ? Promise.resolve(null) : range(timeQueries(selector, reporter, "1m"), start, end, signal)));
  const named = [{ name: t("common.total"), colour: "tone-mtls", fill: true }, { name: t("common.errors"), colour: "tone-failure" }];
  return (
    <section>
      <h3>{t("panel.charts")}</h3>
      {first.data && (tcp
        ? <Chart range={first.data} label={t("panel.chart.bytes")} lines={[{ name: t("panel.in"), colour: "tone-tcp" }, { name: t("panel.out"), colour: "tone-plain" }]} format={bytes} />
        : <Chart range={first.data} label={t("panel.chart.rate")} lines={named} format={short} />)}
      {times.data && <Chart range={times.data} label={t("panel.chart.time")} lines={timeLines} format={duration} />}
    </section>
  );
}
