// Traces: search, one by itself, and two side by side.
import type { JSX, TargetedMouseEvent } from "preact";
import { useMemo, useState } from "preact/hooks";
import { jaeger, type Trace } from "../api/jaeger.ts";
import { t } from "../i18n/index.ts";
import { Empty, Problem, Waiting } from "../parts/states.tsx";
import { Table } from "../parts/table.tsx";
import { clock, duration, moment as momentText } from "../state/format.ts";
import { useLoad } from "../state/load.ts";
import { go, href, liveTurn, view } from "../state/store.ts";
import { colourOf } from "../trace/colours.ts";
import { AskedLine } from "../trace/asked.tsx";
import { askedOf, compare, hops, type Tree, tree } from "../trace/model.ts";
import { Waterfall } from "../trace/waterfall.tsx";

export default function TracesPage(): JSX.Element {
  const [a, b] = view.value.path;
  if (a && b) return <Compare a={a} b={b} />;
  if (a) return <One id={a} />;
  return <div class="page"><div class="page-head"><h1>{t("nav.traces")}</h1></div><Traces /></div>;
}

/** The search; `service` is fixed where it stands on a page of a workload. */
export function Traces({ service: fixed }: { service?: string }): JSX.Element {
  const x = view.value.extra;
  const service = fixed ?? x.service ?? "";
  const services = useLoad("services", jaeger.services);
  const operations = useLoad(`operations/${service}`, (signal) => (service ? jaeger.operations(service, signal) : Promise.resolve([])));
  const end = view.value.at ?? liveTurn.value;
  const lookback = view.value.window * 3;
  const chosen = service || services.data?.[0] || "";
  const tags = x.errors === "1" ? JSON.stringify({ error: "true" }) : undefined;
  const found = useLoad(`${chosen}/${x.operation}/${x.min}/${x.errors}/${x.limit}/${end}/${lookback}`, (signal) =>
    (chosen ? jaeger.search({ service: chosen, operation: x.operation, start: end - lookback, end, limit: Number(x.limit ?? 50), minDuration: /^\d+(\.\d+)?(us|ms|s)$/.test(x.min ?? "") ? x.min : undefined, tags }, signal) : Promise.resolve([])));
  const put = (name: string, value: string): void => { const extra = { ...x, [name]: value }; if (!value) delete extra[name]; go({ extra }); };
  const [marked, mark] = useState<string[]>([]);
  const trees = useMemo(() => (found.data ?? []).map((trace) => ({ trace, of: tree(trace) })), [found.data]);
  return (
    <div class="traces">
      <form class="form-row" onSubmit={(e) => e.preventDefault()}>
        {!fixed && <label class="field">{t("trace.service")}<select value={chosen} onChange={(e) => put("service", e.currentTarget.value)}>{(services.data ?? []).map((s) => <option key={s}>{s}</option>)}</select></label>}
        <label class="field">{t("trace.operation")}<select value={x.operation ?? ""} onChange={(e) => put("operation", e.currentTarget.value)}><option value="">{t("trace.any")}</option>{(operations.data ?? []).map((o) => <option key={o}>{o}</option>)}</select></label>
        <label class="field">{t("trace.longerThan")}<input type="text" size={8} value={x.min ?? ""} placeholder="100ms" onInput={(e) => put("min", e.currentTarget.value)} /></label>
        <label class="field">{t("trace.limit")}<select value={x.limit ?? "50"} onChange={(e) => put("limit", e.currentTarget.value)}>{["20", "50", "200"].map((l) => <option key={l}>{l}</option>)}</select></label>
        <label class="check"><input type="checkbox" checked={x.errors === "1"} onChange={(e) => put("errors", e.currentTarget.checked ? "1" : "")} />{t("trace.onlyErrors")}</label>
        <span class="grow" />
        <button type="button" class="button" disabled={marked.length !== 2} onClick={() => go({ page: "traces", path: marked, extra: {}, tab: "" }, "push")}>{t("trace.compareTwo", { count: marked.length })}</button>
      </form>
      {found.error && <Problem error={found.error} again={found.again} />}
      {!found.data && !found.error && <Waiting />}
      {found.data && found.data.length === 0 && <Empty title={t("trace.none")} hint={t("trace.none.hint")} />}
      {trees.length > 0 && <Scatter trees={trees} />}
      {trees.length > 0 && (
        <Table caption={t("nav.traces")} rows={trees} id={(r) => r.trace.traceID} sort="start" descending onOpen={(r) => go({ page: "traces", path: [r.trace.traceID], extra: {}, tab: "" }, "push")}
          columns={[
            { id: "pick", title: t("trace.pick"), value: (r) => Number(marked.includes(r.trace.traceID)), cell: (r) => <input type="checkbox" aria-label={t("trace.pickOne", { id: r.trace.traceID.slice(-8) })} checked={marked.includes(r.trace.traceID)} onClick={(e) => e.stopPropagation()} onChange={() => mark((old) => (old.includes(r.trace.traceID) ? old.filter((i) => i !== r.trace.traceID) : [...old, r.trace.traceID].slice(-2)))} /> },
            { id: "name", title: t("trace.root"), row: true, value: (r) => askedOf(r.of.rows[0].span)?.path ?? r.of.rows[0].span.operationName, cell: (r) => { const asked = askedOf(r.of.rows[0].span); return <><a href={href({ page: "traces", path: [r.trace.traceID] })}>{asked ? <AskedLine it={asked} /> : r.of.rows[0].span.operationName}</a>{asked && <div class="small muted">{r.of.rows[0].span.operationName}</div>}</>; } },
            { id: "services", title: t("nav.services"), value: (r) => r.of.services.length, cell: (r) => <span class="swatches">{r.of.services.map((s) => <i key={s} title={s} style={{ background: colourOf(s, r.of.services) }} />)} <span class="muted">{t("trace.spans", { count: r.of.rows.length })}</span></span> },
            { id: "errors", title: t("common.errors"), number: true, value: (r) => r.of.errors, cell: (r) => (r.of.errors ? <span class="bad">{r.of.errors}</span> : "–") },
            { id: "duration", title: t("trace.duration"), number: true, value: (r) => r.of.duration, cell: (r) => duration(r.of.duration / 1000) },
            { id: "start", title: t("trace.start"), number: true, value: (r) => r.of.start, cell: (r) => clock(r.of.start / 1e6, true) },
          ]} />
      )}
    </div>
  );
}

/** Duration over time: what is slow or failed stands out. A picture of what the table says; a press opens a trace. */
function Scatter({ trees }: { trees: { trace: Trace; of: Tree }[] }): JSX.Element {
  const times = trees.map((r) => r.of.start);
  const [start, end] = [Math.min(...times), Math.max(...times)];
  const most = Math.max(...trees.map((r) => r.of.duration));
  const least = Math.min(...trees.map((r) => r.of.duration));
  const y = (d: number): number => 84 - ((Math.log(d) - Math.log(least)) / Math.max(0.01, Math.log(most) - Math.log(least))) * 70;
  const open = (e: TargetedMouseEvent<SVGSVGElement>): void => {
    const id = (e.target as SVGElement).dataset.trace;
    if (id) go({ page: "traces", path: [id], extra: {}, tab: "" }, "push");
  };
  return (
    <svg class="scatter" viewBox="0 0 1000 96" preserveAspectRatio="none" role="img" aria-label={t("trace.scatter", { count: trees.length, most: duration(most / 1000) })} onClick={open}>
      {trees.map(({ trace, of }) => {
        const x = 12 + ((of.start - start) / Math.max(1, end - start)) * 976;
        return <line key={trace.traceID} data-trace={trace.traceID} x1={x} x2={x} y1={y(of.duration)} y2={y(of.duration) + 0.01} class={of.errors ? "bad-dot" : "dot"} vector-effect="non-scaling-stroke" />;
      })}
    </svg>
  );
}

function One({ id }: { id: string }): JSX.Element {
  const { data, error, loading, again } = useLoad(id, (signal) => jaeger.trace(id, signal));
  const of = useMemo(() => (data ? tree(data) : null), [data]);
  if (error) return <Problem error={error} again={again} />;
  if (!of || !data) return loading ? <Waiting /> : <Empty title={t("trace.none")} />;
  const root = of.rows[0];
  return (
    <div class="page">
      <div class="page-head">
        <h1><a class="crumb" href={href({ page: "traces" })}>{t("nav.traces")}</a> <span class="muted" aria-hidden="true">/</span> {root.span.operationName}</h1>
        <span class="muted mono small">{id}</span>
      </div>
      <p class="summary-line">
        <AskedLine it={askedOf(root.span)} />
        <span>{momentText(of.start / 1e6)}</span><span><strong>{duration(of.duration / 1000)}</strong></span><span>{t("trace.spans", { count: of.rows.length })}</span>
        {of.errors > 0 && <span class="bad">{t("trace.errorSpans", { count: of.errors })}</span>}
        <a href={href({ page: "explain", extra: { trace: id } })}>{t("panel.explain")}</a>
        <a href={href({ page: "graph", at: Math.round(of.start / 1e6), extra: { trace: id } })}>{t("trace.graphThen")}</a>
      </p>
      {data.warnings?.map((warning) => <p key={warning} class="muted small">{warning}</p>)}
      <section class="card"><Waterfall of={of} /><p class="muted small key"><i class="critical-key" />{t("trace.critical")}</p></section>
      <section><h2 class="section-title">{t("trace.hops")}</h2><Hops of={of} /></section>
    </div>
  );
}

function Hops({ of }: { of: Tree }): JSX.Element {
  const all = of.duration || 1;
  return (
    <Table caption={t("trace.hops")} rows={hops(of)} id={(h) => h.service + h.operation} sort="critical" descending columns={[
      { id: "service", title: t("trace.service"), row: true, value: (h) => h.service, cell: (h) => <><i class="swatch" style={{ background: colourOf(h.service, of.services) }} />{h.service}</> },
      { id: "operation", title: t("trace.operation"), value: (h) => h.operation, cell: (h) => <><span class="mono">{h.operation}</span>{h.asked && <div class="small"><AskedLine it={h.asked} /></div>}{h.statement && <div class="mono small muted wrap">{h.statement}</div>}</> },
      { id: "total", title: t("trace.duration"), number: true, value: (h) => h.total, cell: (h) => duration(h.total / 1000) },
      { id: "own", title: t("trace.own"), number: true, value: (h) => h.own, cell: (h) => duration(h.own / 1000) },
      { id: "critical", title: t("trace.onCritical"), number: true, value: (h) => h.critical, cell: (h) => <span class="share"><span style={{ width: `${(h.critical / all) * 100}%` }} />{`${Math.round((h.critical / all) * 100)} %`}</span> },
      { id: "errors", title: t("common.errors"), number: true, value: (h) => h.errors, cell: (h) => (h.errors ? <span class="bad">{h.errors}</span> : "–") },
    ]} />
  );
}

function Compare({ a, b }: { a: string; b: string }): JSX.Element {
  const { data, error, again } = useLoad(`${a}/${b}`, (signal) => Promise.all([jaeger.trace(a, signal), jaeger.trace(b, signal)]));
  if (error) return <Problem error={error} again={again} />;
  if (!data) return <Waiting />;
  const [left, right] = data;
  if (!left || !right) return <Empty title={t("trace.none")} />;
  const [x, y] = [tree(left), tree(right)];
  const longest = Math.max(x.duration, y.duration);
  const most = Math.max(1, ...compare(x, y).map((d) => Math.abs(d.delta)));
  return (
    <div class="page">
      <div class="page-head"><h1><a class="crumb" href={href({ page: "traces" })}>{t("nav.traces")}</a> <span class="muted" aria-hidden="true">/</span> {t("trace.compare")}</h1></div>
      <div class="split wide">{[["A", x, a], ["B", y, b]].map(([name, of, id]) => (
        <section key={name as string} class="card"><h2>{name as string}: <a href={href({ page: "traces", path: [id as string] })}>{(of as Tree).rows[0].span.operationName}</a></h2>
          <p class="muted">{momentText((of as Tree).start / 1e6)} · {duration((of as Tree).duration / 1000)} · <AskedLine it={askedOf((of as Tree).rows[0].span)} /></p><Waterfall of={of as Tree} scale={longest} /></section>
      ))}</div>
      <Table caption={t("trace.compare")} rows={compare(x, y)} id={(d) => d.service + d.operation} sort="delta" descending columns={[
        { id: "service", title: t("trace.service"), row: true, value: (d) => d.service, cell: (d) => d.service },
        { id: "operation", title: t("trace.operation"), value: (d) => d.operation, cell: (d) => <span class="mono">{d.operation}</span> },
        { id: "a", title: `A · ${t("trace.own")}`, number: true, value: (d) => d.a?.own ?? -1, cell: (d) => (d.a ? duration(d.a.own / 1000) : t("trace.missing")) },
        { id: "b", title: `B · ${t("trace.own")}`, number: true, value: (d) => d.b?.own ?? -1, cell: (d) => (d.b ? duration(d.b.own / 1000) : t("trace.missing")) },
        { id: "delta", title: t("trace.difference"), number: true, value: (d) => Math.abs(d.delta), cell: (d) => <span class="delta"><span class={d.delta > 0 ? "slower" : "faster"} style={{ width: `${(Math.abs(d.delta) / most) * 100}%` }} />{d.delta === 0 ? "–" : `${d.delta > 0 ? "+" : "−"}${duration(Math.abs(d.delta) / 1000)}`}</span> },
      ]} />
    </div>
  );
}
