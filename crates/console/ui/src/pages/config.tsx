// Istio's configuration: the list, and one object with its editor, its checks and its history.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { api } from "../api/client.ts";
import type { ApplyAnswer, Finding, ObjectDetail, Revision } from "../api/types.ts";
import { Apply } from "../editor/apply.tsx";
import type { Open } from "../editor/codemirror.ts";
import type { Base } from "../editor/conflict.tsx";
import { Delete } from "../editor/delete.tsx";
import { Difference, DifferenceLook } from "../editor/difference.tsx";
import { Editor } from "../editor/editor.tsx";
import { t } from "../i18n/index.ts";
import { Counts, Findings } from "../parts/findings.tsx";
import { Problem, Waiting } from "../parts/states.tsx";
import { Table } from "../parts/table.tsx";
import { Tabs } from "../parts/tabs.tsx";
import { changes } from "../state/changes.ts";
import { moment as momentText, span } from "../state/format.ts";
import { useLoad } from "../state/load.ts";
import { access, go, href, info, moment, now, view, whyReadOnly } from "../state/store.ts";
import { useItems } from "./list.tsx";
import { templates } from "../editor/templates.ts";

export default function ConfigPage(): JSX.Element {
  const [namespace, kind, name] = view.value.path;
  if (namespace === "new") return <New />;
  if (name) return <One key={`${namespace}/${kind}/${name}`} namespace={namespace} kind={kind} name={name} />;
  return <Objects />;
}

function Objects(): JSX.Element {
  const items = useItems("config", api.config);
  return (
    <div class="page">
      <div class="page-head"><h1>{t("nav.config")}</h1><span class="grow" /><a class="button" href={href({ page: "config", path: ["new"] })}>{t("config.new")}</a></div>
      {items.error && !items.data && <Problem error={items.error} again={items.again} />}
      {!items.data && !items.error && <Waiting />}
      {items.data && <Table caption={t("nav.config")} rows={items.data} id={(c) => `${c.namespace}/${c.kind}/${c.name}`} sort="findings" descending filter={(c) => `${c.kind} ${c.name} ${c.namespace} ${c.managedBy}`}
        onOpen={(c) => go({ page: "config", path: [c.namespace, c.kind, c.name] }, "push")} columns={[
          { id: "name", title: t("common.name"), row: true, value: (c) => c.name, cell: (c) => c.name },
          { id: "kind", title: t("common.kind"), value: (c) => c.kind, cell: (c) => c.kind },
          { id: "namespace", title: t("common.namespace"), value: (c) => c.namespace, cell: (c) => c.namespace },
          { id: "findings", title: t("common.findings"), value: (c) => c.findings.errors * 1000 + c.findings.warnings, cell: (c) => <Counts count={c.findings} /> },
          { id: "managed", title: t("config.managedBy"), value: (c) => c.managedBy, cell: (c) => (c.managedBy ? <span class="chip">{c.managedBy}</span> : <span class="muted">–</span>) },
          { id: "changed", title: t("common.changed"), number: true, value: (c) => c.changed, cell: (c) => <span title={momentText(c.changed)}>{t("common.ago", { span: span(moment.value - c.changed) })}</span> },
        ]} />}
    </div>
  );
}

function One({ namespace, kind, name }: { namespace: string; kind: string; name: string }): JSX.Element {
  const at = view.value.at;
  const { data, error, again } = useLoad(`${namespace}/${kind}/${name}/${at}`, () => api.object({ namespace, kind, name }, at));
  const [done, note] = useState(false);
  const tab = view.value.tab || "yaml";
  // What was done here and the server may not have been told of yet; the time of a deletion. Once it is told of a change, it is asked again.
  const [made, make] = useState<"made" | number | null>(null);
  const heard = changes.value.filter((c) => c.kind === kind && c.name === name && (c.namespace || "-") === namespace).length;
  useEffect(() => { if (made !== null && data && (data.deleted === null) !== (made === "made")) again(); }, [heard]);
  const it: ObjectDetail | null = data && typeof made === "number" && data.deleted === null && at === null ? { ...data, deleted: made, resourceVersion: "", affects: [] } : data;
  const applied = (): void => { if (it?.deleted) make("made"); note(true); go({ extra: {} }); again(); };
  const deleted = (): void => { make(now()); note(false); go({ tab: "", extra: {} }); again(); document.getElementById("content")?.focus(); };
  const look = (): void => { note(false); go({ extra: {} }); again(); };
  const last = it?.history.find((r) => r.verb !== "deleted");
  return (
    <div class="page">
      <div class="page-head"><h1><a class="crumb" href={href({ page: "config" })}>{t("nav.config")}</a> <span class="muted" aria-hidden="true">/</span> {name}</h1><span class="muted">{kind} · {namespace}</span>{it?.managedBy && <span class="chip">{t("config.managedBy")}: {it.managedBy}</span>}
        <span class="grow" />{it && it.deleted === null && at === null && <Delete key={it.resourceVersion} it={it} onDeleted={deleted} onLook={look} />}
      </div>
      {error && !data && <Problem error={error} again={again} />}
      {!data && !error && <Waiting />}
      {done && <p class="callout good" role="status">{t("apply.done")} <button type="button" class="link" onClick={() => go({ tab: "history" }, "push")}>{t("config.undo")}</button></p>}
      {it?.deleted && !done && <p class="callout" role="status">{t("config.deleted", { when: momentText(it.deleted) })} {last && !view.value.extra.restore && <button type="button" class="link" onClick={() => restore(last)}>{t("config.deleted.restore")}</button>}</p>}
      {it && (
        <Tabs label={name} open={tab} onOpen={(id) => go({ tab: id === "yaml" ? "" : id, extra: {} })} tabs={[{ id: "yaml", title: "YAML" }, { id: "history", title: t("config.history", { count: it.history.length }) }]}>
          {tab === "yaml" ? <Edit key={`${it.resourceVersion}/${at}/${view.value.extra.restore ?? ""}`} it={it} past={at !== null} onApplied={applied} onTheirs={look} /> : <History it={it} />}
        </Tabs>
      )}
    </div>
  );
}

/** A revision is looked at before it is applied, as every other change. */
const restore = (revision: Revision): void => go({ tab: "", at: null, extra: { restore: revision.resourceVersion } }, "push");

function Edit({ it, past, onApplied, onTheirs }: { it: ObjectDetail; past: boolean; onApplied: () => void; onTheirs: () => void }): JSX.Element {
  const revision = it.history.find((r) => r.verb !== "deleted" && r.resourceVersion === view.peek().extra.restore);
  const [text, set] = useState(revision?.yaml ?? it.yaml);
  const base = { ref: it.ref, yaml: it.deleted === null ? it.yaml : "", resourceVersion: it.resourceVersion };
  const fixed = past ? t("config.past") : it.deleted !== null && !revision ? t("config.deleted.past") : "";
  return <Work initial={text} text={text} onText={set} base={base} reviewing={revision !== undefined && !past} findings={it.findings} fixed={fixed} affects={it.affects} onApplied={onApplied} onTheirs={onTheirs} />;
}

/** `fixed`: why it cannot be edited; empty: it can. */
function Work({ initial, text, onText, base, reviewing, findings: first, fixed, affects, onApplied, onTheirs }: {
  initial: string; text: string; onText: (t: string) => void; base: Base | null; reviewing: boolean; findings: Finding[]; fixed: string;
  affects: { namespace: string; name: string }[]; onApplied: (answer: ApplyAnswer) => void; onTheirs?: () => void;
}): JSX.Element {
  const [findings, found] = useState(first);
  const [review, look] = useState(reviewing);
  const editor = useRef<Open | null>(null);
  const check = async (yaml: string): Promise<Finding[]> => {
    if (!yaml.trim()) { found([]); return []; }
    try {
      const { findings: list } = await api.validate(yaml);
      found(list);
      return list;
    } catch { return []; }
  };
  const changed = text !== (base?.yaml ?? "");
  return (
    <div class="config-work">
      <div class="editor-box">
        <div hidden={review} class="editor-hold"><Editor text={initial} label="YAML" readOnly={fixed !== ""} onChange={onText} check={check} onReady={(open) => { editor.current = open; const line = Number(view.peek().extra.line); if (line > 0) open.goTo(line); }} /></div>
        {review && <Apply yaml={text} base={base} now onApplied={onApplied} onTheirs={onTheirs} />}
        <p class="actions">
          {!review && <button type="button" class="button primary" disabled={!changed || fixed !== ""} onClick={() => look(true)}>{t("apply.review")}</button>}
          {review && <button type="button" class="button" onClick={() => look(false)}>{t("config.backToEditor")}</button>}
          {fixed && <span class="muted small">{fixed}</span>}
          {!fixed && !review && access.value.readOnly && <span class="muted small">{whyReadOnly.value}</span>}
        </p>
      </div>
      <aside class="config-side" aria-label={t("common.findings")}>
        <section><h2>{t("common.findings")}</h2><div aria-live="polite"><Findings list={findings} onGo={review ? undefined : (line) => editor.current?.goTo(line)} /></div></section>
        {affects.length > 0 && <section><h2>{t("config.affects")}</h2><ul class="plain">{affects.map((w) => <li key={w.namespace + w.name}><a href={href({ page: "workloads", path: [w.namespace, w.name] })}>{w.name}</a> <span class="muted">{w.namespace}</span></li>)}</ul></section>}
      </aside>
    </div>
  );
}

/** What was deleted has the version that it had before. */
const revisionId = (r: Revision): string => (r.verb === "deleted" ? `deleted-${r.resourceVersion}` : r.resourceVersion);

function History({ it }: { it: ObjectDetail }): JSX.Element {
  const open = view.value.extra.revision;
  const i = Math.max(0, it.history.findIndex((r) => revisionId(r) === open));
  const revision = it.history[i];
  if (!revision) return <p class="muted">{t("common.nothing")}</p>;
  const newest = view.value.extra.with === "newest";
  const [before, after] = newest ? [revision.yaml, it.history[0].yaml] : [it.history[i + 1]?.yaml ?? "", revision.yaml];
  const put = (name: string, value: string): void => go({ extra: { ...view.value.extra, [name]: value } });
  return (
    <div class="config-work history">
      <ol class="revisions">
        {it.history.map((r) => (
          <li key={revisionId(r)}><button type="button" aria-pressed={r === revision} onClick={() => put("revision", revisionId(r))}><strong>{momentText(r.at)}</strong><span>{r.summary || t(`config.verb.${r.verb}`)}</span><span class="muted small">{r.by}</span></button></li>
        ))}
      </ol>
      <div class="editor-box">
        <div class="form-row">
          <div class="segmented" role="group" aria-label={t("config.compareWith")}>
            {(["before", "newest"] as const).map((w) => <button key={w} type="button" aria-pressed={newest === (w === "newest")} onClick={() => put("with", w)}>{t(`config.compareWith.${w}`)}</button>)}
          </div>
          <DifferenceLook />
        </div>
        {before === after ? <p class="muted">{t("config.same")}</p> : <Difference before={before} after={after} label={t("apply.difference", { name: it.ref.name })} />}
        <p class="actions">
          {(i > 0 || it.deleted !== null) && revision.verb !== "deleted" && <button type="button" class="button primary" onClick={() => restore(revision)}>{t("config.restore")}</button>}
          <button type="button" class="button" onClick={() => go({ at: Math.round(revision.at) }, "push")}>{t("config.lookThen")}</button>
        </p>
      </div>
    </div>
  );
}

function New(): JSX.Element {
  const kinds = Object.keys(templates);
  const given = view.value.extra.yaml;
  const [kind, choose] = useState(kinds[0]);
  const namespace = view.value.namespaces[0] ?? info.value?.namespaces[0]?.name ?? "default";
  const [text, set] = useState(given ?? templates[kind](namespace));
  const opened = ({ objects }: ApplyAnswer): void => { const one = objects.at(-1); if (one) go({ page: "config", path: [one.ref.namespace || "-", one.ref.kind, one.ref.name], extra: {} }, "push"); };
  return (
    <div class="page">
      <div class="page-head"><h1><a class="crumb" href={href({ page: "config" })}>{t("nav.config")}</a> <span class="muted" aria-hidden="true">/</span> {t("config.new")}</h1>
        {!given && <select aria-label={t("common.kind")} value={kind} onChange={(e) => { choose(e.currentTarget.value); set(templates[e.currentTarget.value](namespace)); }}>{kinds.map((k) => <option key={k}>{k}</option>)}</select>}
      </div>
      <Work key={given ?? kind} initial={text} text={text} onText={set} base={null} reviewing={false} findings={[]} fixed="" affects={[]} onApplied={opened} />
    </div>
  );
}
