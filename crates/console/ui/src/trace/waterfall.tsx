// The spans of a trace one below the other, on one axis of time; what had to be waited for is drawn strong.
import type { JSX, TargetedKeyboardEvent } from "preact";
import { useMemo, useState } from "preact/hooks";
import { t } from "../i18n/index.ts";
import { duration } from "../state/format.ts";
import { Copy } from "../parts/copy.tsx";
import { askedOf, criticalPath, type Row, statementOf, type Tree } from "./model.ts";
import { colourOf } from "./colours.ts";

/** `scale`: microseconds that the whole width is, where two are compared. */
export function Waterfall({ of, scale = of.duration }: { of: Tree; scale?: number }): JSX.Element {
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set());
  const [open, setOpen] = useState<string | null>(null);
  const critical = useMemo(() => criticalPath(of), [of]);
  const shown = of.rows.filter((row) => { for (let r = row.parent; r; r = r.parent) if (closed.has(r.span.spanID)) return false; return true; });
  const at = (micros: number): string => `${((micros - of.start) / Math.max(1, scale)) * 100}%`;
  const wide = (micros: number): string => `${(micros / Math.max(1, scale)) * 100}%`;
  const fold = (row: Row, shut: boolean): void => setClosed((old) => { const next = new Set(old); if (shut) next.add(row.span.spanID); else next.delete(row.span.spanID); return next; });
  const keys = (e: TargetedKeyboardEvent<HTMLElement>, row: Row): void => {
    const here = e.currentTarget;
    const all = [...here.closest(".waterfall")!.querySelectorAll<HTMLElement>("[role=treeitem]")];
    const i = all.indexOf(here);
    if (e.key === "ArrowDown") all[i + 1]?.focus();
    else if (e.key === "ArrowUp") all[i - 1]?.focus();
    else if (e.key === "ArrowLeft") fold(row, true);
    else if (e.key === "ArrowRight") fold(row, false);
    else if (e.key === "Enter" || e.key === " ") setOpen(open === row.span.spanID ? null : row.span.spanID);
    else return;
    e.preventDefault();
  };
  return (
    <div class="waterfall">
      <div class="axis" aria-hidden="true">{[0, 0.25, 0.5, 0.75, 1].map((s) => <span key={s} style={{ left: `${s * 100}%` }}>{duration((scale * s) / 1000)}</span>)}</div>
      <div role="tree" aria-label={t("trace.waterfall")}>
        {shown.map((row, i) => {
          const id = row.span.spanID;
          const slow = critical.filter((p) => p.row === row);
          return (
            <div key={id}>
              <div role="treeitem" class={`span-row ${row.error ? "is-bad" : ""}`} tabIndex={i === 0 ? 0 : -1} aria-level={row.depth + 1} aria-expanded={row.children.length ? !closed.has(id) : undefined} aria-selected={open === id}
                onKeyDown={(e) => keys(e, row)} onClick={() => setOpen(open === id ? null : id)}>
                <span class="span-name" style={{ paddingLeft: `${row.depth * 15 + 4}px` }}>
                  {row.children.length > 0 && <span aria-hidden="true" class={`twist ${closed.has(id) ? "" : "is-open"}`} onClick={(e) => { e.stopPropagation(); fold(row, !closed.has(id)); }}>›</span>}
                  <i style={{ background: colourOf(row.service, of.services) }} />
                  <strong>{row.service.split(".")[0]}</strong> <span class="muted clip" title={row.span.operationName}>{row.span.operationName}</span>{statementOf(row.span) && <code class="statement mono clip" title={statementOf(row.span)!.text}>{statementOf(row.span)!.text}</code>}
                </span>
                <span class="span-line">
                  <span class="bar" style={{ left: at(row.span.startTime), width: `max(2px, ${wide(row.span.duration)})`, background: colourOf(row.service, of.services) }} />
                  {slow.map((p) => <span key={p.from} class="critical" style={{ left: at(p.from), width: wide(p.to - p.from) }} />)}
                  <span class={`span-time ${place(row, of.start, scale)}`} style={placeStyle(row, of.start, scale)}>
                    {duration(row.span.duration / 1000)}{row.error && ` · ${wrong(row)}`}
                  </span>
                </span>
              </div>
              {open === id && <Detail row={row} start={of.start} />}
            </div>
          );
        })}
      </div>
    </div>
  );
}

/** Of what failed: its code, and the proxy's word for why. */
function wrong(row: Row): string {
  const asked = askedOf(row.span);
  return [asked?.code, asked?.flags].filter(Boolean).join(" ") || t("common.errors");
}

type Place = "after" | "before" | "inside";

/** Where the time of a bar has room: after it, else before it, else in it. */
function place(row: Row, start: number, scale: number): Place {
  const [from, to] = [(row.span.startTime - start) / scale, (row.span.startTime - start + row.span.duration) / scale];
  return to <= 0.82 ? "after" : from > 0.2 ? "before" : "inside";
}

function placeStyle(row: Row, start: number, scale: number): Record<string, string> {
  const percent = (micros: number): string => `${((micros - start) / Math.max(1, scale)) * 100}%`;
  const end = percent(row.span.startTime + row.span.duration);
  switch (place(row, start, scale)) {
    case "after": return { left: end };
    case "before": return { right: `calc(100% - ${percent(row.span.startTime)})` };
    case "inside": return { right: `calc(100% - ${end})` };
  }
}

function Detail({ row, start }: { row: Row; start: number }): JSX.Element {
  const statement = statementOf(row.span);
  return (
    <div class="span-detail">
      {statement && <><h4>{t("trace.statement")} {statement.system && <span class="chip">{statement.system}</span>}</h4><pre class="yaml mono" tabIndex={0}>{statement.text}</pre><p class="actions"><Copy text={statement.text} /></p></>}
      <dl class="facts">
        <dt>{t("trace.starts")}</dt><dd>+{duration((row.span.startTime - start) / 1000)}</dd>
        <dt>{t("trace.own")}</dt><dd>{duration(row.own / 1000)}</dd>
        {row.span.tags.filter((tag) => !statement || !["db.statement", "db.query.text"].includes(tag.key)).map((tag) => <><dt class="mono">{tag.key}</dt><dd class="mono wrap">{String(tag.value)}</dd></>)}
      </dl>
      {row.span.logs.map((log) => <p key={log.timestamp} class="mono small">+{duration((log.timestamp - start) / 1000)} {log.fields.map((f) => `${f.key}=${f.value}`).join(" ")}</p>)}
    </div>
  );
}
