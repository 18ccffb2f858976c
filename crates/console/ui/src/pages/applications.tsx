// Applications: all workloads with the same app label, and the services before them.
import type { JSX } from "preact";
import { api } from "../api/client.ts";
import { statusOf } from "../graph/model.ts";
import { t } from "../i18n/index.ts";
import { TrafficCharts } from "../panel/traffic.tsx";
import { HealthReasons, HealthSign } from "../parts/health.tsx";
import { Empty, Problem, Waiting } from "../parts/states.tsx";
import { href, nodeKey, view } from "../state/store.ts";
import { Head, List, pick, useItems } from "./list.tsx";

export default function Applications(): JSX.Element {
  const one = view.value.path.length >= 2;
  const items = useItems("applications", api.applications, one);
  if (!one) {
    return <List page="applications" items={items} words={(a) => [...a.versions, ...a.workloads].join(" ")} extra={[
      { id: "versions", title: t("app.versions"), cell: (a) => a.versions.join(", ") || "–", value: (a) => a.versions.join() },
      { id: "services", title: t("nav.services"), cell: (a) => a.services.join(", ") || "–", value: (a) => a.services.join() },
    ]} />;
  }
  if (!items.data) return items.error ? <Problem error={items.error} again={items.again} /> : <Waiting />;
  const it = pick(items.data);
  if (!it) return <Empty title={t("common.gone")} hint={t("common.gone.hint")} />;
  return (
    <div class="page">
      <Head page="applications" name={it.name} namespace={it.namespace}><HealthSign status={statusOf(it.health)} word /></Head>
      <div class="split">
        <section class="card"><h2>{t("common.health")}</h2><HealthReasons health={it.health} examples={it.examples ?? []} /></section>
        <section class="card"><h2>{t("common.details")}</h2>
          <dl class="facts">
            <dt>{t("nav.workloads")}</dt><dd><ul class="plain">{it.workloads.map((w) => <li key={w}><a href={href({ page: "workloads", path: [it.namespace, w] })}>{w}</a></li>)}</ul></dd>
            <dt>{t("nav.services")}</dt><dd><ul class="plain">{it.services.map((s) => <li key={s}><a href={href({ page: "services", path: [it.namespace, s] })}>{s}</a></li>)}</ul></dd>
          </dl>
          <p class="links"><a href={href({ page: "graph", namespaces: [it.namespace], type: "app", selected: nodeKey("app", it.namespace, it.name) })}>{t("nav.graph")}</a></p>
        </section>
      </div>
      <TrafficCharts selector={`destination_workload_namespace="${it.namespace}",destination_canonical_service="${it.name}"`} reporter="destination" />
    </div>
  );
}
