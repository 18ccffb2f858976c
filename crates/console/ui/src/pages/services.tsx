// Services: the list, and one by itself with its wizards.
import type { JSX } from "preact";
import { api } from "../api/client.ts";
import type { ServiceItem } from "../api/types.ts";
import { statusOf } from "../graph/model.ts";
import { t } from "../i18n/index.ts";
import { TrafficCharts } from "../panel/traffic.tsx";
import { HealthReasons, HealthSign } from "../parts/health.tsx";
import { Empty, Problem, Waiting } from "../parts/states.tsx";
import { Tabs } from "../parts/tabs.tsx";
import { go, href, nodeKey, view } from "../state/store.ts";
import { Wizards } from "../wizards/wizards.tsx";
import { Head, List, pick, useItems } from "./list.tsx";

export default function Services(): JSX.Element {
  const one = view.value.path.length >= 2;
  const items = useItems("services", api.services, one);
  if (!one) {
    return <List page="services" items={items} words={(s) => s.hosts.join(" ")} extra={[
      { id: "ports", title: t("service.ports"), cell: (s) => s.ports.map((p) => `${p.number} ${p.protocol}`).join(", "), value: (s) => s.ports[0]?.number ?? 0 },
      { id: "config", title: t("nav.config"), cell: (s) => s.config.map((c) => c.name).join(", ") || "–", value: (s) => s.config.length },
    ]} />;
  }
  if (!items.data) return items.error ? <Problem error={items.error} again={items.again} /> : <Waiting />;
  const service = pick(items.data);
  return service ? <Service it={service} /> : <Empty title={t("common.gone")} hint={t("common.gone.hint")} />;
}

function Service({ it }: { it: ServiceItem }): JSX.Element {
  const tab = view.value.tab || "overview";
  return (
    <div class="page">
      <Head page="services" name={it.name} namespace={it.namespace}><HealthSign status={statusOf(it.health)} word /></Head>
      <Tabs label={it.name} open={tab} onOpen={(id) => go({ tab: id === "overview" ? "" : id, extra: {} })} tabs={[
        { id: "overview", title: t("nav.overview") }, { id: "inbound", title: t("workload.inbound") }, { id: "wizards", title: t("panel.wizards") },
      ]}>
        {tab === "overview" && (
          <div class="split">
            <section class="card"><h2>{t("common.health")}</h2><HealthReasons health={it.health} examples={it.examples ?? []} /></section>
            <section class="card"><h2>{t("common.details")}</h2>
              <dl class="facts">
                <dt>{t("service.hosts")}</dt><dd class="mono wrap">{it.hosts.join(", ")}</dd>
                <dt>{t("service.ports")}</dt><dd>{it.ports.map((p) => `${p.name} ${p.number} ${p.protocol}`).join(", ")}</dd>
                <dt>{t("service.selector")}</dt><dd class="mono">{Object.entries(it.selector).map(([k, v]) => `${k}=${v}`).join(", ") || "–"}</dd>
                <dt>{t("nav.config")}</dt>
                <dd>{it.config.length ? <ul class="plain">{it.config.map((c) => <li key={c.kind + c.name}><a href={href({ page: "config", path: [c.namespace, c.kind, c.name] })}>{c.kind} {c.name}</a></li>)}</ul> : "–"}</dd>
              </dl>
              <p class="links"><a href={href({ page: "graph", namespaces: [it.namespace], selected: nodeKey("svc", it.namespace, it.name) })}>{t("nav.graph")}</a></p>
            </section>
          </div>
        )}
        {tab === "inbound" && <TrafficCharts selector={`destination_service_name="${it.name}",destination_service_namespace="${it.namespace}"`} reporter={isTcp(it) ? "source" : "destination"} tcp={isTcp(it)} />}
        {tab === "wizards" && <Wizards service={it} />}
      </Tabs>
    </div>
  );
}

/** As its first port's name says; whose says nothing is taken for HTTP. */
const isTcp = (it: ServiceItem): boolean => /^(tcp|tls|https|mysql|mongo|redis|postgres(ql)?|udp)$/i.test(it.ports[0]?.protocol ?? "");
