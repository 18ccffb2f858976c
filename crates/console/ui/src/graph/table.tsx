// The graph as a table: the same numbers, for the keyboard, for screen readers, and for copying.
import type { JSX } from "preact";
import { t } from "../i18n/index.ts";
import { duration, percent } from "../state/format.ts";
import { go, view } from "../state/store.ts";
import { Table } from "../parts/table.tsx";
import { HealthSign } from "../parts/health.tsx";
import { edgeId, errorShare, type GraphModel, statusOf } from "./model.ts";
import type { Marks } from "./scene.ts";
import { fullName, rate, whyIdle } from "./words.ts";

export function GraphTable({ model, marks }: { model: GraphModel; marks: Marks }): JSX.Element {
  const { stat, selected } = view.value;
  const edges = [...model.edges.values()].filter((e) => (marks.foundNodes === null && marks.foundEdges === null) ||
    marks.foundEdges?.has(edgeId(e)) || marks.foundNodes?.has(e.source) || marks.foundNodes?.has(e.target));
  const node = (key: string): string => fullName(model.nodes.get(key)!, model.graphType);
  const idle = [...model.nodes.values()].filter((n) => n.idle && (!marks.foundNodes || marks.foundNodes.has(n.key)));
  return (
    <div class="stack">
    <Table caption={t("table.caption")} rows={edges} id={(e) => edgeId(e)} selected={selected} sort="rate" descending
      onOpen={(e) => go({ selected: edgeId(e) }, "push")}
      columns={[
        { id: "health", title: t("common.health"), cell: (e) => <HealthSign status={statusOf(e.health)} />, value: (e) => statusOf(e.health) },
        { id: "source", title: t("table.source"), cell: (e) => node(e.source), value: (e) => node(e.source), row: true },
        { id: "target", title: t("table.target"), cell: (e) => node(e.target), value: (e) => node(e.target) },
        { id: "protocol", title: t("table.protocol"), cell: (e) => e.protocol.toUpperCase(), value: (e) => e.protocol },
        { id: "rate", title: t("table.rate"), number: true, cell: (e) => rate(e, e.rates), value: (e) => e.rates.total },
        { id: "errors", title: t("table.errors"), number: true, cell: (e) => (e.protocol === "tcp" ? "" : percent(errorShare(e.rates))), value: (e) => errorShare(e.rates) },
        { id: "time", title: t("table.time", { stat: stat.toUpperCase() }), number: true, cell: (e) => (e.responseTimes ? duration(e.responseTimes[stat]) : ""), value: (e) => e.responseTimes?.[stat] ?? 0 },
        { id: "mtls", title: t("table.security"), number: true, cell: (e) => (e.security ? percent(e.security.mtls) : percent(0)), value: (e) => e.security?.mtls ?? 0 },
      ]} />
      {idle.length > 0 && <section><h2 class="section-title">{t("idle.table")}</h2>
        <Table caption={t("idle.table")} rows={idle} id={(n) => n.key} selected={selected} onOpen={(n) => go({ selected: n.key }, "push")} columns={[
          { id: "name", title: t("common.name"), row: true, cell: (n) => fullName(n, model.graphType), value: (n) => fullName(n, model.graphType) },
          { id: "namespace", title: t("common.namespace"), cell: (n) => n.namespace, value: (n) => n.namespace },
          { id: "why", title: t("idle.column"), cell: (n) => whyIdle(n.idle!), value: (n) => n.idle!.why },
        ]} /></section>}
    </div>
  );
}
