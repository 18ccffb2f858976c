// One node: health and its reasons, traffic in and out, what Istio's resources do to it, where to go from here.
import type { JSX } from "preact";
import type { Node, Tally } from "../api/types.ts";
import { selectorOf } from "../api/prometheus.ts";
import { isGroup } from "../graph/aggregate.ts";
import { edgeId, edgeTone, errorShare, type GraphModel, nodeName, protocols, statusOf } from "../graph/model.ts";
import { shapeOf } from "../graph/scene.ts";
import { openGroup } from "../graph/view.tsx";
import { fullName, rate, whyIdle } from "../graph/words.ts";
import { type Key, t } from "../i18n/index.ts";
import { HealthReasons, HealthSign } from "../parts/health.tsx";
import { bytes, percent, short } from "../state/format.ts";
import { go, href } from "../state/store.ts";
import { Change, ChangedBefore } from "./change.tsx";
import { Unmatching } from "./edge.tsx";
import { serviceOf, tracedAs } from "./question.ts";
import { TrafficCharts } from "./traffic.tsx";

export function NodePanel({ node, model }: { node: Node; model: GraphModel }): JSX.Element {
  const tcp = !node.traffic.http.incoming.total && !node.traffic.grpc.incoming.total && node.traffic.tcp.incoming.total > 0;
  const unmatched = node.egress ? [...model.edges.values()].filter((e) => e.target === node.key).flatMap((e) => e.unmatched) : [];
  const service = node.egress || isGroup(node.key) ? null : serviceOf(node.key, model);
  const reporter = node.outOfMesh || node.egress || node.serviceEntry ? "source" : "destination";
  return (
    <>
      <header>
        <p class="eyebrow">{t(`shape.${shapeOf(node)}`)}{node.namespace && !node.egress && !isGroup(node.key) ? ` · ${node.namespace}` : ""}</p>
        <h2>{fullName(node, model.graphType)}</h2>
        <p class="status-line">{node.health && !node.egress && <HealthSign status={statusOf(node.health)} word />}{node.outOfMesh && <span class="muted">{t("badge.outOfMesh")}</span>}</p>
      </header>
      {node.idle && <p class="callout quiet">{whyIdle(node.idle)}</p>}
      {unmatched.length > 0 && <Unmatching list={unmatched} blackhole={node.egress === "BlackHoleCluster"} />}
      {isGroup(node.key) && <p><button type="button" class="button" onClick={() => openGroup(node.key)}>{t("graph.openNamespace")}</button></p>}
      <Traffic node={node} />
      {node.health && !node.egress && <section><h3>{t("common.health")}</h3><HealthReasons health={node.health} examples={node.examples} /></section>}
      {["Failure", "Degraded"].includes(statusOf(node.health)) && !node.egress && <ChangedBefore />}
      <Badges node={node} />
      <Neighbours node={node} model={model} />
      {node.kind !== "unknown" && !node.egress && <TrafficCharts selector={selectorOf.node(node)} reporter={reporter} tcp={tcp} />}
      {service && <Change service={service} />}
      <Links node={node} />
    </>
  );
}

function Traffic({ node }: { node: Node }): JSX.Element | null {
  const rows = protocols.flatMap((p) => (["incoming", "outgoing"] as const).map((d) => ({ p, d, tally: node.traffic[p][d] }))).filter((r) => r.tally.total > 0);
  if (!rows.length) return null;
  const value = (p: string, tally: Tally): string => (p === "tcp" ? `${bytes(tally.total)}/s` : short(tally.total));
  return (
    <section><h3>{t("panel.traffic")}</h3>
      <table class="small-table">
        <thead><tr><th scope="col"><span class="sr">{t("table.protocol")}</span></th><th scope="col" class="number">{t("panel.rate")}</th><th scope="col" class="number">{t("panel.success")}</th><th scope="col" class="number">{t("panel.errorShare")}</th></tr></thead>
        <tbody>
          {rows.map(({ p, d, tally }) => (
            <tr key={p + d}>
              <th scope="row">{p.toUpperCase()} {d === "incoming" ? t("panel.in") : t("panel.out")}</th>
              <td class="number">{value(p, tally)}</td>
              <td class="number">{p === "tcp" ? "" : percent(1 - errorShare(tally))}</td>
              <td class={`number ${errorShare(tally) > 0 ? "bad" : ""}`}>{p === "tcp" ? "" : percent(errorShare(tally))}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

type BadgeKey = Extract<Key, `badge.${string}`>;

function Badges({ node }: { node: Node }): JSX.Element | null {
  const b = node.badges;
  const words: [boolean, BadgeKey][] = [
    [b.gateway !== null, "badge.gateway"], [b.requestRouting, "badge.requestRouting"], [b.trafficShifting || b.tcpTrafficShifting, "badge.trafficShifting"],
    [b.circuitBreaker, "badge.circuitBreaker"], [b.faultInjection, "badge.faultInjection"], [b.requestTimeout, "badge.requestTimeout"],
    [b.mirroring, "badge.mirroring"], [b.workloadEntries.length > 0, "badge.workloadEntry"], [node.root, "badge.root"],
  ];
  const on = words.filter(([is]) => is);
  if (!on.length && !b.virtualService) return null;
  return (
    <section class="chips">
      {b.virtualService && <a class="chip" href={href({ page: "config", path: [node.namespace, "VirtualService", b.virtualService[0]] })}>{t("badge.virtualService")}: {b.virtualService[0]}</a>}
      {on.map(([, key]) => <span key={key} class="chip">{t(key)}</span>)}
    </section>
  );
}

function Neighbours({ node, model }: { node: Node; model: GraphModel }): JSX.Element | null {
  const edges = [...model.edges.values()].filter((e) => e.source === node.key || e.target === node.key).sort((a, b) => b.rates.total - a.rates.total).slice(0, 12);
  if (!edges.length) return null;
  return (
    <ul class="neighbours">
      {edges.map((e) => {
        const other = model.nodes.get(e.source === node.key ? e.target : e.source)!;
        return (
          <li key={edgeId(e)}>
            <button type="button" onClick={() => go({ selected: edgeId(e) })}>
              <span aria-hidden="true">{e.source === node.key ? "→" : "←"}</span><span class="sr">{e.source === node.key ? t("table.target") : t("table.source")}</span>
              <span class="grow clip">{fullName(other, model.graphType)}</span><span class="muted">{rate(e, e.rates)}</span>
              {["failure", "degraded"].includes(edgeTone(e)) && <HealthSign status={statusOf(e.health)} />}
            </button>
          </li>
        );
      })}
    </ul>
  );
}

function Links({ node }: { node: Node }): JSX.Element | null {
  const name = nodeName(node);
  const workload = node.workload;
  if (node.egress || !(node.kind === "service" || workload || node.app)) return null;
  return (
    <section><h3>{t("panel.links")}</h3>
      <p class="links">
        {node.kind === "service" && <a href={href({ page: "services", path: [node.namespace, name] })}>{t("common.details")}</a>}
        {workload && <a href={href({ page: "workloads", path: [node.namespace, workload] })}>{t("common.details")}</a>}
        {workload && <a href={href({ page: "logs", path: [node.namespace, workload] })}>{t("panel.logs")}</a>}
        {(workload || node.app) && <a href={href({ page: "traces", extra: { service: tracedAs(node) } })}>{t("panel.traces")}</a>}
      </p>
    </section>
  );
}
