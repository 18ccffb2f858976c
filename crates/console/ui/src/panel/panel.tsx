// Beside the graph: what is selected, or the whole graph where nothing is.
import type { JSX } from "preact";
import { t } from "../i18n/index.ts";
import type { GraphModel } from "../graph/model.ts";
import { graph } from "../state/graph.ts";
import { go, view } from "../state/store.ts";
import { Icon } from "../parts/icons.tsx";
import { EdgePanel } from "./edge.tsx";
import { MeshPanel } from "./mesh.tsx";
import { NodePanel } from "./node.tsx";

export function Panel({ model }: { model: GraphModel }): JSX.Element {
  const { selected } = view.value;
  // What has no traffic, or is hidden, is known all the same.
  const all = graph.value;
  const hidden = all !== null && !model.nodes.has(selected) && all.nodes.has(selected);
  const node = model.nodes.get(selected) ?? all?.nodes.get(selected);
  const edge = model.edges.get(selected);
  return (
    <aside id="panel" class="panel" tabIndex={-1} aria-label={t("panel.label")}
      onKeyDown={(e) => { if (e.key === "Escape") { go({ selected: "" }); document.querySelector<HTMLElement>(".graph-host")?.focus(); } }}>
      {(node || edge) && <button type="button" class="icon-button panel-close" aria-label={t("common.close")} onClick={() => go({ selected: "" })}><Icon name="close" /></button>}
      {hidden && <p class="callout quiet">{t("panel.notDrawn")} {!view.value.show.idle && <button type="button" class="link" onClick={() => go({ show: { ...view.value.show, idle: true } }, "push")}>{t("graph.show.idle")}</button>}</p>}
      {selected && !node && !edge && <p class="callout quiet" role="status">{t("panel.gone")}</p>}
      {node ? <NodePanel node={node} model={model} /> : edge ? <EdgePanel edge={edge} model={model} /> : <MeshPanel model={model} />}
    </aside>
  );
}
