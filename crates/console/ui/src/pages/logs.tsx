// Logs: the application's and the sidecar's lines side by side, on one axis of time.
import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { api } from "../api/client.ts";
import { onGap, subscribe } from "../api/stream.ts";
import type { LogLine } from "../api/types.ts";
import { t } from "../i18n/index.ts";
import { Empty, Problem, Waiting } from "../parts/states.tsx";
import { access } from "../state/accesslog.ts";
import { flagText } from "../state/flags.ts";
import { clock, duration } from "../state/format.ts";
import { useLoad } from "../state/load.ts";
import { go, href, view } from "../state/store.ts";
import { useItems } from "./list.tsx";

const MOST = 1000;

export default function LogsPage(): JSX.Element {
  const [namespace, workload] = view.value.path;
  const items = useItems("workloads", api.workloads);
  useEffect(() => {
    // The first that has a sidecar, until one is chosen.
    const first = items.data?.find((w) => w.sidecar && w.replicas && w.replicas.available > 0) ?? items.data?.[0];
    if (!workload && first) go({ path: [first.namespace, first.name] });
  }, [items.data, workload]);
  return (
    <div class="page logs-page">
      <div class="page-head">
        <h1>{t("nav.logs")}</h1>
        <select aria-label={t("nav.workloads")} value={`${namespace ?? ""}/${workload ?? ""}`} onChange={(e) => go({ path: e.currentTarget.value.split("/") }, "push")}>
          {workload && !items.data?.some((w) => w.namespace === namespace && w.name === workload) && <option value={`${namespace}/${workload}`}>{namespace} / {workload}</option>}
          {(items.data ?? []).map((w) => <option key={w.namespace + w.name} value={`${w.namespace}/${w.name}`}>{w.namespace} / {w.name}</option>)}
        </select>
      </div>
      {namespace && workload ? <Logs key={`${namespace}/${workload}`} namespace={namespace} workload={workload} /> : items.error && !items.data ? <Problem error={items.error} again={items.again} /> : items.data?.length === 0 ? <Empty title={t("logs.noWorkloads")} /> : <Waiting />}
    </div>
  );
}

const proxies = new Set(["istio-proxy", "istio-init"]);

export function Logs({ namespace, workload }: { namespace: string; workload: string }): JSX.Element {
  const at = view.value.at;
  const x = view.value.extra;
  const loaded = useLoad(`${namespace}/${workload}/${at}`, (signal) => api.logs({ namespace, workload, to: at, limit: 400 }, signal));
  const [fresh, setFresh] = useState<LogLine[]>([]);
  // More than can be told in a second, or while the page was away.
  const [leftOut, setLeftOut] = useState(0);
  // Who reads wants the lines to stand still: what comes in the meantime is counted.
  const [held, hold] = useState<number | null>(null);
  useEffect(() => {
    setFresh([]);
    setLeftOut(0);
    if (at !== null) return;
    const deaf = onGap(({ topic, count }) => { if (topic === "logs") setLeftOut((before) => before + count); });
    const gone = subscribe("logs", { namespace, workload }, (line: LogLine) => setFresh((old) => old.concat(line).slice(-MOST)));
    return () => { gone(); deaf(); };
  }, [namespace, workload, at]);
  const lines = useMemo(() => {
    const known = new Set<string>();
    const all = [...(loaded.data ?? []), ...fresh].filter((l) => { const id = `${l.at}${l.container}${l.text}`; if (known.has(id)) return false; known.add(id); return true; });
    const pattern = regex(x.words ?? "");
    const side = x.side ?? "";
    const read = all.filter((l) => !side || proxies.has(l.container) === (side === "sidecar")).map((l) => (l.access || !proxies.has(l.container) ? l : { ...l, access: access(l.text) }));
    return read.filter((l) => (!pattern || pattern.test(l.text)) && (x.errors !== "1" || bad(l))).sort((a, b) => b.at - a.at);
  }, [loaded.data, fresh, x.words, x.errors, x.side]);
  const shown = (held === null ? lines : lines.filter((l) => l.at <= held)).slice(0, MOST);
  const put = (name: string, value: string): void => { const extra = { ...x, [name]: value }; if (!value) delete extra[name]; go({ extra }); };
  if (loaded.error && !loaded.data) return <Problem error={loaded.error} again={loaded.again} />;
  if (!loaded.data) return <Waiting />;
  const application = [...new Set(lines.map((l) => l.container))].filter((c) => !proxies.has(c));
  return (
    <div class="logs">
      <div class="table-bar">
        <input type="search" value={x.words ?? ""} placeholder={t("logs.filter")} aria-label={t("logs.filter")} onInput={(e) => put("words", e.currentTarget.value)} />
        <label class="check"><input type="checkbox" checked={x.errors === "1"} onChange={(e) => put("errors", e.currentTarget.checked ? "1" : "")} />{t("logs.onlyErrors")}</label>
        <div class="segmented" role="group" aria-label={t("logs.side")}>
          {(["", "application", "sidecar"] as const).map((s) => <button key={s} type="button" aria-pressed={(x.side ?? "") === s} onClick={() => put("side", s)}>{t(`logs.${s || "both"}`)}</button>)}
        </div>
        <span class="muted small" aria-live="off">{t("common.rows", { count: shown.length })}</span>
        {leftOut > 0 && <span class="small" role="status">{t("logs.leftOut", { count: leftOut })}</span>}
        <span class="grow" />
        {at === null && (held === null
          ? <button type="button" class="button" aria-pressed="true" onClick={() => hold(lines[0]?.at ?? 0)}><span class="dot-live" aria-hidden="true" />{t("logs.following")}</button>
          : <button type="button" class="button primary" aria-pressed="false" onClick={() => hold(null)}>{t("logs.follow", { count: lines.length - shown.length })}</button>)}
      </div>
      {shown.length === 0 ? <Empty title={t("logs.none")} /> : (
        <div class={`log-grid ${x.side ? "is-one" : ""}`} role="table" aria-label={t("nav.logs")} tabIndex={0}>
          <div class="log-head" role="row"><span role="columnheader">{t("time.label")}</span>{x.side !== "sidecar" && <span role="columnheader">{t("logs.application")} {application.length > 0 && <span class="muted">{application.join(", ")}</span>}</span>}{x.side !== "application" && <span role="columnheader">{t("logs.sidecar")} <span class="muted">istio-proxy</span></span>}</div>
          {shown.map((l) => <Line key={`${l.at}${l.container}${l.text}`} line={l} one={Boolean(x.side)} />)}
        </div>
      )}
    </div>
  );
}

function Line({ line, one }: { line: LogLine; one: boolean }): JSX.Element {
  const side = proxies.has(line.container);
  const a = line.access;
  const text = a ? (
    <span class="access">
      <span class={`code ${bad(line) ? "bad" : ""}`}>{a.code === "0" ? "–" : a.code}</span>
      {said(a.cluster) && <span class="muted">{a.direction === "inbound" ? "←" : "→"}</span>}
      <span class="mono clip grow">{said(a.method) || said(a.path) ? `${a.method} ${a.path}` : a.details}</span>
      {said(a.flags) && <span class="flag" title={`${flagText(a.flags)}\n${a.details}`}>{a.flags}</span>}
      <span class="mono muted clip cluster" title={a.cluster}>{a.cluster}</span>
      <span class="muted number">{duration(a.duration)}</span>
      {a.traceId && <a href={href({ page: "traces", path: [a.traceId] })}>{t("logs.trace")}</a>}
    </span>
  ) : <span class="mono wrap">{line.text}</span>;
  return (
    <div class={`log-line ${bad(line) ? "is-bad" : ""}`} role="row" title={a ? line.text : undefined}>
      <span role="cell" class="muted when">{clock(line.at / 1e6, true)}</span>
      {one ? <span role="cell">{text}</span> : <><span role="cell">{side ? "" : text}</span><span role="cell">{side ? text : ""}</span></>}
    </div>
  );
}

/** Proxies write a dash for nothing. */
const said = (text: string): boolean => text !== "" && text !== "-";

const bad = (l: LogLine): boolean => (l.access ? /^[45]|^0$/.test(l.access.code) : /\b(ERROR|FATAL|WARN|Exception)\b/.test(l.text));

/** A regular expression where it is one, else the words as they are. */
function regex(text: string): RegExp | null {
  if (!text) return null;
  try { return new RegExp(text, "i"); } catch { return new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "i"); }
}
