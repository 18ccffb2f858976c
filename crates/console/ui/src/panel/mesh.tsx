// The whole graph: how much is there, what is worst, what has changed lately.
import type { JSX } from "preact";
import { edgeId, edgeTone, errorShare, type GraphModel, statusOf, totals } from "../graph/model.ts";
import { fullName } from "../graph/words.ts";
import { t } from "../i18n/index.ts";
import { percent, short } from "../state/format.ts";
import { HealthSign } from "../parts/health.tsx";
import { go } from "../state/store.ts";
import { ChangeList } from "../parts/changes.tsx";
import { shownChanges } from "../state/changes.ts";
import { Number } from "./edge.tsx";

export function MeshPanel({ model }: { model: GraphModel }): JSX.Element {
  const edges = [...model.edges.values()];
  const { all, bad: failed, secured } = totals(model);
  const bad = edges.filter((e) => ["failure", "degraded"].includes(edgeTone(e)) || e.unmatched.length > 0);
  bad.sort((a, b) => b.unmatched.length - a.unmatched.length || errorShare(b.rates) - errorShare(a.rates));
  return (
    <>
      <header><p class="eyebrow">{t("panel.mesh")}</p><h2>{t("graph.summary", { nodes: model.nodes.size, edges: edges.length, failing: edges.filter((e) => edgeTone(e) === "failure").length })}</h2></header>
      <section class="numbers">
        <Number label={t("common.rate")} value={short(all)} />
        <Number label={t("common.errors")} value={all > 0 ? percent(failed / all) : "–"} bad={failed > 0} />
        <Number label={t("table.security")} value={all > 0 ? percent(secured / all) : "–"} />
      </section>
      {bad.length > 0 && (
        <section><h3>{t("panel.worstEdges")}</h3>
          <ul class="neighbours">
            {bad.slice(0, 8).map((e) => (
              <li key={edgeId(e)}>
                <button type="button" onClick={() => go({ selected: edgeId(e) })}>
                  <HealthSign status={e.unmatched.length ? "Degraded" : statusOf(e.health)} />
                  <span class="grow clip">{fullName(model.nodes.get(e.source)!, model.graphType)} → {fullName(model.nodes.get(e.target)!, model.graphType)}</span>
                  <span class="bad">{errorShare(e.rates) > 0 ? percent(errorShare(e.rates)) : ""}</span>
                </button>
              </li>
            ))}
          </ul>
        </section>
      )}
      <section><h3>{t("panel.recentChanges")}</h3><ChangeList list={shownChanges.value.slice(-8).reverse()} /></section>
    </>
  );
}
