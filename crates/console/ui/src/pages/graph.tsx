// The traffic graph: who talks to whom, how much, how well, and how it is secured.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { jaeger } from "../api/jaeger.ts";
import { t } from "../i18n/index.ts";
import { aggregate, LIMIT } from "../graph/aggregate.ts";
import { contextOf, type Expr, FindError, matchesEdge, matchesNode, parse } from "../graph/find.ts";
import { edgeTone, type GraphModel, nodeTone, ranks } from "../graph/model.ts";
import type { Marks } from "../graph/scene.ts";
import { GraphTable } from "../graph/table.tsx";
import { Toolbar } from "../graph/toolbar.tsx";
import { closeGroup, GraphView } from "../graph/view.tsx";
import { Panel } from "../panel/panel.tsx";
import { graph, graphError, useGraph } from "../state/graph.ts";
import { useLoad } from "../state/load.ts";
import { go, href, view } from "../state/store.ts";
import { tree } from "../trace/model.ts";
import { edgesOf } from "../trace/overlay.ts";
import { Empty, Problem, Waiting } from "../parts/states.tsx";

export function GraphPage(): JSX.Element {
  useGraph();
  const v = view.value;
  const model = graph.value;
  const find = useMemo(() => read(v.find), [v.find]);
  const hide = useMemo(() => read(v.hide), [v.hide]);
  const opened = v.opened.join(",");
  const shown = useMemo(() => {
    if (!model) return null;
    const visible = v.show.idle ? model : withoutIdle(model);
    const summed = aggregate(visible, new Set(v.opened), v.show.all);
    return hide.expr ? without(summed, hide.expr) : summed;
  }, [model, v.show.idle, v.show.all, opened, hide.expr]);
  const traced = v.extra.trace ?? "";
  const { data: trace } = useLoad(`overlay/${traced}`, (signal) => (traced ? jaeger.trace(traced, signal) : Promise.resolve(null)));
  const marks = useMemo((): Marks => ({ selected: v.selected || null, ...found(shown, find.expr), trace: trace && shown ? edgesOf(tree(trace), shown) : null }), [shown, find.expr, v.selected, trace]);
  return (
    <div class="page graph-page">
      <h1 class="sr">{t("graph.title")}</h1>
      <Toolbar findError={find.error} hideError={hide.error} />
      {find.expr && <p class="sr" role="status">{t("graph.find.found", { nodes: marks.foundNodes?.size ?? 0, edges: marks.foundEdges?.size ?? 0 })}</p>}
      <div class="graph-body">
        <div class="graph-main">
          {graphError.value && !model && <Problem error={graphError.value} />}
          {!model && !graphError.value && <Waiting />}
          {traced && <div class="notice"><span>{t("graph.trace")}</span> <a class="mono" href={href({ page: "traces", path: [traced] })}>{traced.slice(-12)}</a> <button type="button" class="chip" onClick={() => go({ extra: {} })}>{t("common.close")} ×</button></div>}
          {shown && model && <Notice model={model} shown={shown} />}
          {shown && shown.nodes.size === 0 && <Empty title={t("graph.empty")} hint={t("graph.empty.hint")} />}
          {shown && shown.nodes.size > 0 && (v.as === "graph" ? <GraphView model={shown} marks={marks} /> : <GraphTable model={shown} marks={marks} />)}
        </div>
        {shown && <Panel model={shown} />}
      </div>
    </div>
  );
}

/** Says when a large mesh is shown by its namespaces, and lets one see all of it. */
function Notice({ model, shown }: { model: GraphModel; shown: GraphModel }): JSX.Element | null {
  const v = view.value;
  if (model.nodes.size <= LIMIT || v.show.all) return null;
  return (
    <div class="notice">
      {shown.nodes.size < model.nodes.size && <span>{t("graph.aggregated", { count: model.nodes.size })}</span>}
      {v.opened.map((n) => <button key={n} type="button" class="chip" onClick={() => closeGroup(n)}>{t("graph.closeNamespace", { namespace: n })} ×</button>)}
      <button type="button" class="link" onClick={() => go({ show: { ...v.show, all: true } }, "push")}>{t("graph.aggregated.all")}</button>
    </div>
  );
}

function read(text: string): { expr: Expr | null; error: FindError | null } {
  try { return { expr: parse(text), error: null }; } catch (error) {
    if (error instanceof FindError) return { expr: null, error };
    throw error;
  }
}

function withoutIdle(model: GraphModel): GraphModel {
  const edges = new Map([...model.edges].filter(([, e]) => e.rates.total > 0 || e.unmatched.length > 0));
  const used = new Set([...edges.values()].flatMap((e) => [e.source, e.target]));
  return { ...model, edges, nodes: new Map([...model.nodes].filter(([key, n]) => used.has(key) || nodeTone(n) !== "idle")) };
}

function without(model: GraphModel, expr: Expr): GraphModel {
  const context = contextOf(model.nodes, ranks(model));
  const nodes = new Map([...model.nodes].filter(([, n]) => !matchesNode(expr, n, context)));
  const edges = new Map([...model.edges].filter(([, e]) => nodes.has(e.source) && nodes.has(e.target) && !matchesEdge(expr, e, context)));
  return { ...model, nodes, edges };
}

function found(model: GraphModel | null, expr: Expr | null): Pick<Marks, "foundNodes" | "foundEdges"> {
  if (!model || !expr) return { foundNodes: null, foundEdges: null };
  const context = contextOf(model.nodes, ranks(model));
  return {
    foundNodes: new Set([...model.nodes.values()].filter((n) => matchesNode(expr, n, context)).map((n) => n.key)),
    foundEdges: new Set([...model.edges].filter(([, e]) => matchesEdge(expr, e, context)).map(([id]) => id)),
  };
}

/** For the panel and the head line. */
export const failing = (model: GraphModel): number => [...model.edges.values()].filter((e) => edgeTone(e) === "failure").length;
