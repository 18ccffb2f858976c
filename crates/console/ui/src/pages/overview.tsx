// The first look: is it well, what is wrong, what has changed.
import type { JSX } from "preact";
import { api } from "../api/client.ts";
import { edgeId, fromGraph, nodeName, statusOf, totals } from "../graph/model.ts";
import { t } from "../i18n/index.ts";
import { ChangeList } from "../parts/changes.tsx";
import { Chart } from "../parts/chart.tsx";
import { Counts } from "../parts/findings.tsx";
import { HealthSign } from "../parts/health.tsx";
import { OnsetReport } from "../parts/onset.tsx";
import { Problem, Waiting } from "../parts/states.tsx";
import type { HealthStatus } from "../api/types.ts";
import { worst } from "../graph/aggregate.ts";
import { shownChanges } from "../state/changes.ts";
import { duration, percent, short } from "../state/format.ts";
import { useLoad } from "../state/load.ts";
import { useVolume } from "../state/volume.ts";
import { href, info, liveTurn, namespaces, view } from "../state/store.ts";

/** The graph as it is drawn where nobody has chosen otherwise: its numbers are those of the overview, its keys lead there. */
const drawn = { graphType: "versionedApp", injectServiceNodes: true, includeIdleEdges: false };

export default function Overview(): JSX.Element {
  const { at, window } = view.value;
  // Lists that are live are asked for again every ten seconds.
  const turn = at ?? liveTurn.value;
  const ns = namespaces.value;
  const loaded = useLoad(`${ns}/${turn}/${window}`, () => Promise.all([api.workloads(ns, at, window), api.graph({ ...drawn, namespaces: ns, duration: window, at }), api.mesh(at)]));
  if (!loaded.data) return loaded.error ? <Problem error={loaded.error} again={loaded.again} /> : <Waiting />;
  const [workloads, answer, mesh] = loaded.data;
  const graph = fromGraph(answer);
  const { all, bad, secured } = totals(graph);
  const lost = [...graph.edges.values()].filter((e) => e.unmatched.length > 0);
  const healthOf = (namespace: string): HealthStatus => statusOf(worst(workloads.filter((w) => w.namespace === namespace).map((w) => w.health)));
  const troubled = workloads.filter((w) => ["Failure", "Degraded", "Not Ready"].includes(statusOf(w.health)));
  const soon = mesh.certificates.filter((c) => c.notAfter - turn < 14 * 86400 && c.role !== "workload");
  const out = mesh.proxies.filter((p) => p.sync !== "synced").length;
  return (
    <div class="page">
      <div class="page-head"><h1>{t("nav.overview")}</h1></div>
      <section class="tiles" aria-label={t("nav.overview")}>
        <Tile label={t("common.rate")} value={short(all)} />
        <Tile label={t("common.errors")} value={all > 0 ? percent(bad / all) : "–"} bad={bad > 0} />
        <Tile label={t("overview.mtls")} value={all > 0 ? percent(secured / all) : "–"} />
        <Tile label={t("overview.workloads")} value={`${workloads.length - troubled.length} / ${workloads.length}`} bad={troubled.length > 0} hint={t("overview.healthyOf")} />
        <Tile label={t("overview.proxies")} value={`${mesh.proxies.length - out} / ${mesh.proxies.length}`} bad={out > 0} hint={t("overview.syncedOf")} href={href({ page: "mesh" })} />
      </section>
      <div class="split">
        <section class="card"><Volume end={turn} /></section>
        <div class="stack">
        <section class="card">
          <h2>{t("overview.attention")}</h2>
          {troubled.length + soon.length + out + lost.length === 0 && <p class="muted">{t("overview.allWell")}</p>}
          <ul class="attention">
            {troubled.map((w) => (
              <li key={w.namespace + w.name}><HealthSign status={statusOf(w.health)} /><a href={href({ page: "workloads", path: [w.namespace, w.name] })}>{w.name}</a><span class="muted grow">{w.namespace}</span>{w.errorShare > 0 && <span class="bad">{percent(w.errorShare)}</span>}</li>
            ))}
            {lost.map((e) => (
              <li key={edgeId(e)}><HealthSign status="Degraded" /><a href={href({ page: "graph", type: "versionedApp", selected: edgeId(e) })} title={t("overview.unmatched")}>{nodeName(graph.nodes.get(e.source)!)} → {nodeName(graph.nodes.get(e.target)!)}</a><span class="muted grow mono small wrap">{e.unmatched.map((u) => u.host || u.address).join(", ")}</span></li>
            ))}
            {soon.map((c) => <li key={c.subject}><HealthSign status="Degraded" /><a href={href({ page: "mesh" })}>{c.subject}</a><span class="muted grow">{t("mesh.expires", { span: duration((c.notAfter - turn) * 1000) })}</span></li>)}
            {mesh.proxies.filter((p) => p.sync === "rejected").map((p) => <li key={p.pod}><HealthSign status="Failure" /><a href={href({ page: "mesh" })}>{p.pod}</a><span class="muted grow">{t("mesh.sync.rejected")}</span></li>)}
          </ul>
        </section>
        <Onsets end={turn} />
        </div>
      </div>
      <section>
        <h2 class="section-title">{t("top.namespaces")}</h2>
        <div class="cards">
          {(info.value?.namespaces ?? []).filter((n) => !view.value.namespaces.length || view.value.namespaces.includes(n.name)).map((n) => (
            <article key={n.name} class="card">
              <h3 class="card-title"><HealthSign status={healthOf(n.name)} /><a href={href({ page: "graph", namespaces: [n.name] })}>{n.name}</a></h3>
              <p class="muted">{t("overview.namespace", { workloads: n.workloads, services: n.services })}</p>
              <p class="chips"><span class="chip">mTLS {n.mtls}</span>{n.injected && <span class="chip">{t("overview.injected")}</span>}{n.ambient && <span class="chip">ambient</span>}</p>
              {n.findings.errors + n.findings.warnings > 0 && <Counts count={n.findings} />}
            </article>
          ))}
        </div>
      </section>
      <section class="card"><h2>{t("panel.recentChanges")}</h2><ChangeList list={shownChanges.value.slice(-10).reverse()} /></section>
    </div>
  );
}

function Tile({ label, value, bad = false, hint, href: to }: { label: string; value: string; bad?: boolean; hint?: string; href?: string }): JSX.Element {
  return <div class="tile"><span class="muted">{to ? <a href={to}>{label}</a> : label}</span><strong class={bad ? "bad" : ""}>{value}</strong>{hint && <small class="muted">{hint}</small>}</div>;
}

function Volume({ end }: { end: number }): JSX.Element {
  const { data } = useVolume(view.value.span, end);
  if (!data) return <Waiting />;
  return <Chart range={data.range} height={190} label={t("panel.chart.rate")} format={short} lines={[{ name: t("common.total"), colour: "tone-mtls", fill: true }, { name: t("common.errors"), colour: "tone-failure" }]} />;
}

/** When errors began within the span, the last first, each with what was changed before it. */
function Onsets({ end }: { end: number }): JSX.Element | null {
  const { data } = useVolume(view.value.span, end);
  if (!data?.onsets.length) return null;
  return (
    <section class="card"><h2>{t("onset.heading")}</h2>
      {data.onsets.slice(-3).reverse().map((o) => <OnsetReport key={o.at} onset={o} blur={Math.max(60, data.step)} />)}
    </section>
  );
}
