// Workloads: the list, and one by itself.
import type { JSX } from "preact";
import { api } from "../api/client.ts";
import type { WorkloadItem } from "../api/types.ts";
import { statusOf } from "../graph/model.ts";
import { t } from "../i18n/index.ts";
import { TrafficCharts } from "../panel/traffic.tsx";
import { HealthReasons, HealthSign } from "../parts/health.tsx";
import { Empty, Problem, Waiting } from "../parts/states.tsx";
import { Tabs } from "../parts/tabs.tsx";
import { go, href, nodeKey, view } from "../state/store.ts";
import { Head, List, pick, useItems } from "./list.tsx";
import { Logs } from "./logs.tsx";
import { Traces } from "./traces.tsx";

export default function Workloads(): JSX.Element {
  const one = view.value.path.length >= 2;
  const items = useItems("workloads", api.workloads, one);
  if (!one) {
    return <List page="workloads" items={items} words={(w) => `${w.app} ${w.version} ${w.kind}`} extra={[
      { id: "kind", title: t("common.kind"), cell: (w) => w.kind, value: (w) => w.kind },
      { id: "version", title: t("common.version"), cell: (w) => w.version || "–", value: (w) => w.version },
      { id: "pods", title: t("health.replicas"), number: true, cell: (w) => (w.replicas ? `${w.replicas.available} / ${w.replicas.desired}` : "–"), value: (w) => w.replicas?.available ?? 0 },
      { id: "sidecar", title: t("workload.sidecar"), cell: (w) => (w.sidecar ? t("common.yes") : w.ambient ? "ambient" : <span class="muted">{t("common.no")}</span>), value: (w) => Number(w.sidecar) },
    ]} />;
  }
  if (!items.data) return items.error ? <Problem error={items.error} again={items.again} /> : <Waiting />;
  const workload = pick(items.data);
  return workload ? <Workload it={workload} /> : <Empty title={t("common.gone")} hint={t("common.gone.hint")} />;
}

function Workload({ it }: { it: WorkloadItem }): JSX.Element {
  const tab = view.value.tab || "overview";
  const labels = (end: string): string => `${end}_workload_namespace="${it.namespace}",${end}_workload="${it.name}"`;
  return (
    <div class="page">
      <Head page="workloads" name={it.name} namespace={it.namespace}><HealthSign status={statusOf(it.health)} word /></Head>
      <Tabs label={it.name} open={tab} onOpen={(id) => go({ tab: id === "overview" ? "" : id, extra: {} })} tabs={[
        { id: "overview", title: t("nav.overview") }, { id: "inbound", title: t("workload.inbound") }, { id: "outbound", title: t("workload.outbound") },
        { id: "logs", title: t("nav.logs") }, { id: "traces", title: t("nav.traces") },
      ]}>
        {tab === "overview" && (
          <div class="split">
            <section class="card"><h2>{t("common.health")}</h2><HealthReasons health={it.health} examples={it.examples ?? []} /></section>
            <section class="card"><h2>{t("common.details")}</h2>
              <dl class="facts">
                <dt>{t("common.kind")}</dt><dd>{it.kind}</dd>
                <dt>{t("graph.type.app")}</dt><dd><a href={href({ page: "applications", path: [it.namespace, it.app] })}>{it.app}</a></dd>
                <dt>{t("common.version")}</dt><dd>{it.version || "–"}</dd>
                <dt>{t("workload.sidecar")}</dt><dd>{it.sidecar ? t("common.yes") : t("badge.outOfMesh")}</dd>
              </dl>
              <p class="links"><a href={href({ page: "graph", namespaces: [it.namespace], type: "workload", selected: nodeKey("wl", it.namespace, it.name) })}>{t("nav.graph")}</a></p>
            </section>
          </div>
        )}
        {tab === "inbound" && <TrafficCharts selector={labels("destination")} reporter={it.sidecar ? "destination" : "source"} />}
        {tab === "outbound" && <TrafficCharts selector={labels("source")} reporter="source" />}
        {tab === "logs" && <Logs namespace={it.namespace} workload={it.name} />}
        {tab === "traces" && <Traces service={`${it.app || it.name}.${it.namespace}`} />}
      </Tabs>
    </div>
  );
}
