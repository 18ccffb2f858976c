// One edge: how much, how well and why it has its colour, how it is secured, what was answered.
import type { JSX } from "preact";
import type { Edge, Unmatched } from "../api/types.ts";
import { selectorOf } from "../api/prometheus.ts";
import { edgeId, errorShare, type GraphModel, statusOf } from "../graph/model.ts";
import { fullName, rate } from "../graph/words.ts";
import { t } from "../i18n/index.ts";
import { HealthReasons, HealthSign } from "../parts/health.tsx";
import { Copy } from "../parts/copy.tsx";
import { Icon } from "../parts/icons.tsx";
import { bytes, duration, isBad, percent, short } from "../state/format.ts";
import { flagText } from "../state/flags.ts";
import { go, href } from "../state/store.ts";
import { Change, ChangedBefore } from "./change.tsx";
import { callerOf, questionOf, serviceOf, tracedAs } from "./question.ts";
import { TrafficCharts } from "./traffic.tsx";

export function EdgePanel({ edge, model }: { edge: Edge; model: GraphModel }): JSX.Element {
  const source = model.nodes.get(edge.source)!;
  const target = model.nodes.get(edge.target)!;
  const end = (key: string, name: string): JSX.Element => <button type="button" class="link strong" onClick={() => go({ selected: key })}>{name}</button>;
  const question = questionOf(edge, model);
  const traced = [source, target].find((n) => n.kind !== "service" && n.kind !== "unknown" && !n.outOfMesh) ?? callerOf(source, model);
  const failed = edge.examples.find((e) => e.traceId)?.traceId;
  const service = target.egress ? null : serviceOf(edgeId(edge), model);
  const reporter = target.outOfMesh || target.egress || target.serviceEntry ? "source" : "destination";
  return (
    <>
      <header>
        <p class="eyebrow">{edge.protocol.toUpperCase()}</p>
        <h2 class="route">{end(edge.source, fullName(source, model.graphType))} <span aria-hidden="true">→</span> {end(edge.target, fullName(target, model.graphType))}</h2>
        <p class="status-line">
          {edge.health && <HealthSign status={statusOf(edge.health)} word />}
          <SecurityLine edge={edge} />
        </p>
      </header>
      {edge.unmatched.length > 0 && <Unmatching list={edge.unmatched} blackhole={target.egress === "BlackHoleCluster"} />}
      <section class="numbers">
        <Number label={t("panel.rate")} value={rate(edge, edge.rates)} />
        {edge.protocol !== "tcp" && <Number label={t("panel.errorShare")} value={percent(errorShare(edge.rates))} bad={errorShare(edge.rates) > 0} />}
        {edge.responseTimes && (["p50", "p95", "p99", "avg"] as const).map((s) => <Number key={s} label={s === "avg" ? t("graph.stat.avg") : s.toUpperCase()} value={duration(edge.responseTimes![s])} />)}
        {edge.throughput && <Number label={t("panel.throughput")} value={`${bytes(edge.throughput.response)}/s`} />}
      </section>
      {edge.health && edge.protocol !== "tcp" && <section><h3>{t("panel.whyRed")}</h3><HealthReasons health={edge.health} examples={edge.examples} /></section>}
      {errorShare(edge.rates) > 0 && <ChangedBefore />}
      {edge.responses.length > 0 && edge.protocol !== "tcp" && <Responses edge={edge} />}
      {edge.security && (edge.security.sourcePrincipal || edge.security.destinationPrincipal || edge.security.mtls > 0) && (
        <section><h3>{t("panel.security")}</h3>
          <dl class="facts">
            <dt>{t("panel.sourcePrincipal")}</dt><dd class="mono wrap">{edge.security.sourcePrincipal ?? t("panel.noPrincipal")}</dd>
            <dt>{t("panel.destinationPrincipal")}</dt><dd class="mono wrap">{edge.security.destinationPrincipal ?? t("panel.noPrincipal")}</dd>
          </dl>
        </section>
      )}
      <TrafficCharts selector={selectorOf.edge(edge, source, target)} reporter={reporter} tcp={edge.protocol === "tcp"} />
      {service && <Change service={service} />}
      <section><h3>{t("panel.links")}</h3>
        <p class="links">
          {question && <a href={href({ page: "explain", extra: question })}>{t("panel.explain")}</a>}
          {failed && <a href={href({ page: "explain", extra: { trace: failed } })}>{t("explain.example")}</a>}
          {traced && <a href={href({ page: "traces", extra: { service: tracedAs(traced) } })}>{t("panel.traces")}</a>}
        </p>
      </section>
    </>
  );
}

export function Number({ label, value, bad = false }: { label: string; value: string; bad?: boolean }): JSX.Element {
  return <div class="figure"><span>{label}</span><strong class={bad ? "bad" : ""}>{value}</strong></div>;
}

function SecurityLine({ edge }: { edge: Edge }): JSX.Element {
  const share = edge.security?.mtls ?? 0;
  return share > 0
    ? <span class="tone-mtls lock"><Icon name="lock" size={15} />{t("panel.mtls", { share: percent(share) })}</span>
    : <span class="muted">{t("panel.plain")}</span>;
}

function Responses({ edge }: { edge: Edge }): JSX.Element {
  const all = edge.rates.total || 1;
  const rows = [...edge.responses].sort((a, b) => b.rate - a.rate);
  return (
    <section><h3>{t("panel.responses")}</h3>
      <table class="small-table">
        <thead><tr><th scope="col">{t("panel.code")}</th><th scope="col">{t("panel.flags")}</th><th scope="col">{t("panel.host")}</th><th scope="col" class="number">{t("panel.share")}</th></tr></thead>
        <tbody>
          {rows.map((r) => (
            <tr key={`${r.code}${r.flags}${r.host}`}>
              <td><span class={`code ${isBad(r.code) ? "bad" : ""}`}>{r.code || "–"}</span></td>
              <td>{r.flags && r.flags !== "-" ? <><span class="flag">{r.flags}</span><small class="muted flag-words">{flagText(r.flags).replace(/^\w+: /gm, "")}</small></> : "–"}</td>
              <td class="mono clip" title={r.host}>{r.host || "–"}</td>
              <td class="number">{percent(r.rate / all)} <small class="muted">{short(r.rate)}/s</small></td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** Why nothing was found, what was probably meant, and the mend. */
export function Unmatching({ list, blackhole }: { list: Unmatched[]; blackhole: boolean }): JSX.Element {
  return (
    <section class="callout">
      <h3>{t("unmatched.title")}</h3>
      <p>{blackhole ? t("unmatched.blackhole") : t("unmatched.passthrough")}</p>
      {list.map((u) => (
        <div key={`${u.host}${u.address}`} class="unmatched">
          <dl class="facts">
            {u.host && <><dt>{t("unmatched.host")}</dt><dd class="mono wrap">{u.host}</dd></>}
            {u.address && <><dt>{t("unmatched.address")}</dt><dd class="mono wrap">{u.address}{u.port !== null && `:${u.port}`}</dd></>}
            <dt>{t("unmatched.reason")}</dt><dd>{whyUnmatched(u)}</dd>
            {u.arrived && <><dt>{t("unmatched.arrived")}</dt><dd><a href={href({ page: "workloads", path: [u.arrived.namespace, u.arrived.workload] })}>{u.arrived.workload}.{u.arrived.namespace}</a></dd></>}
            {u.meant && <><dt>{t("unmatched.meant")}</dt><dd><a href={u.meant.kind === "Service" ? href({ page: "services", path: [u.meant.namespace, u.meant.name] }) : href({ page: "config", path: [u.meant.namespace, "ServiceEntry", u.meant.name] })}>{u.meant.kind} {u.meant.name}.{u.meant.namespace}</a></dd></>}
          </dl>
          {mend(u) && <p class="fix"><strong>{t("unmatched.fix")}</strong> {mend(u)}</p>}
          {u.yaml && <><h4>{t("unmatched.yaml")}</h4><pre class="yaml mono" tabIndex={0} aria-label="YAML">{u.yaml}</pre></>}
          {u.yaml && <p class="actions"><Copy text={u.yaml} what="YAML" /><a class="button" href={href({ page: "config", path: ["new"], extra: { yaml: u.yaml } })}>{t("unmatched.apply")}</a></p>}
        </div>
      ))}
    </section>
  );
}

function whyUnmatched({ reason, host, address, port }: Unmatched): string {
  const what = host || address;
  switch (reason.code) {
    case "publicHost": return t("unmatched.reason.publicHost", { what, resource: reason.resource });
    case "podAddress": return t("unmatched.reason.podAddress", { what, workload: reason.workload });
    case "portNotServed": return t("unmatched.reason.portNotServed", { what, port: port ?? "?", ports: reason.ports.join(", ") });
    case "nothingKnown": return t("unmatched.reason.nothingKnown");
    default: return t(`unmatched.reason.${reason.code}`, { what });
  }
}

/** What to change so that the service that was meant is found. */
function mend({ reason, meant, port }: Unmatched): string {
  if (reason.code === "publicHost" && meant) return t("unmatched.mend.publicHost", { host: meant.host, at: port === null ? meant.host : `${meant.host}:${port}` });
  if (reason.code === "notRegistered" || reason.code === "notVisible") return t(`unmatched.mend.${reason.code}`);
  return meant ? t("unmatched.mend.ask", { host: meant.host }) : "";
}
