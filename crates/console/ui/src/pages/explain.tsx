// Why a request went, or would go, the way it goes: hop by hop, what was chosen, by which object, and why the rest lost.
import type { JSX, TargetedSubmitEvent } from "preact";
import { useEffect, useState } from "preact/hooks";
import { api } from "../api/client.ts";
import type { Explanation, Hop, Step } from "../api/types.ts";
import { said, t } from "../i18n/index.ts";
import { Copy } from "../parts/copy.tsx";
import { Icon } from "../parts/icons.tsx";
import { Problem, Waiting } from "../parts/states.tsx";
import { useLoad } from "../state/load.ts";
import { go, href, view } from "../state/store.ts";
import { headersOf, splitWorkload } from "../state/request.ts";

const fields = ["from", "method", "to", "port", "path", "headers"] as const;
type Form = Record<(typeof fields)[number], string>;
const formOf = (x: Record<string, string>): Form => ({ from: x.from ?? "", method: x.method ?? "GET", to: x.to ?? "", port: x.port ?? "", path: x.path ?? "/", headers: x.headers ?? "" });

export default function Explain(): JSX.Element {
  const x = view.value.extra;
  const at = view.value.at;
  const asked = x.trace || (x.from && x.to);
  const loaded = useLoad(JSON.stringify([x, at]), () => {
    if (x.trace) return api.explain({ traceId: x.trace });
    if (!asked) return Promise.resolve(null);
    const f = formOf(x);
    return api.explain({ from: splitWorkload(f.from), to: { host: f.to, port: Number(f.port) || 0, method: f.method, path: f.path, headers: headersOf(f.headers) }, at: at ?? undefined });
  });
  return (
    <div class="page">
      <div class="page-head"><h1>{t("nav.explain")}</h1><span class="muted">{t("explain.lead")}</span></div>
      {x.trace
        ? <p class="form-row"><span>{t("explain.ofTrace")} <a class="mono" href={href({ page: "traces", path: [x.trace] })}>{x.trace.slice(-16)}</a></span><button type="button" class="button" onClick={() => go({ extra: {} }, "push")}>{t("explain.other")}</button></p>
        : <Ask key={JSON.stringify(x)} given={formOf(x)} />}
      {loaded.error && <Problem error={loaded.error} again={loaded.again} />}
      {asked && loaded.loading && !loaded.data && <Waiting />}
      {loaded.data && !loaded.error && <Answer it={loaded.data} />}
    </div>
  );
}

function Ask({ given }: { given: Form }): JSX.Element {
  const [form, set] = useState(given);
  const [more, show] = useState(given.headers !== "");
  const known = useLoad("explain/known", () => Promise.all([api.workloads("", null), api.services("", null)]));
  useEffect(() => { if (given.headers) show(true); }, [given.headers]);
  const ask = (e: TargetedSubmitEvent<HTMLFormElement>): void => { e.preventDefault(); go({ extra: Object.fromEntries(Object.entries(form).filter(([, v]) => v !== "")) }, "push"); };
  const field = (name: Exclude<keyof Form, "headers">, label: string, size: number, more: { placeholder?: string; list?: string; required?: boolean } = {}): JSX.Element => (
    <label class="field">{label}<input type="text" size={size} value={form[name]} spellcheck={false} {...more} onInput={(e) => set({ ...form, [name]: e.currentTarget.value })} /></label>
  );
  return (
    <form class="card" onSubmit={ask}>
      <div class="form-row">
        {field("from", t("explain.from"), 22, { placeholder: "blog-system/web", list: "known-workloads", required: true })}
        {field("method", t("explain.method"), 6, { list: "known-methods" })}
        {field("to", t("explain.host"), 30, { placeholder: "was-service.blog-system", list: "known-hosts", required: true })}
        {field("port", t("explain.port"), 6, { placeholder: t("explain.port.first") })}
        {field("path", t("explain.path"), 20)}
        {!more && <button type="button" class="button" onClick={() => show(true)}>{t("explain.addHeaders")}</button>}
        <button class="button primary" type="submit">{t("explain.ask")}</button>
      </div>
      {more && <label class="field">{t("explain.headers")}<textarea class="mono" rows={3} spellcheck={false} placeholder={"x-canary-test: true\nend-user: jason"} value={form.headers} onInput={(e) => set({ ...form, headers: e.currentTarget.value })} /></label>}
      <datalist id="known-workloads">{known.data?.[0].map((w) => <option key={w.namespace + w.name} value={`${w.namespace}/${w.name}`} />)}</datalist>
      <datalist id="known-hosts">{known.data?.[1].map((s) => <option key={s.namespace + s.name} value={`${s.name}.${s.namespace}`} />)}</datalist>
      <datalist id="known-methods">{["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"].map((m) => <option key={m} value={m} />)}</datalist>
    </form>
  );
}

const signs = { ok: "check", denied: "close", failed: "close", passthrough: "forward", blackhole: "close" } as const;

function Answer({ it }: { it: Explanation }): JSX.Element {
  const tone = it.outcome === "ok" ? "good" : it.outcome === "passthrough" ? "" : "bad-callout";
  return (
    <>
      <section class={`callout ${tone}`} role="status">
        <p class="eyebrow mono">{it.request.method} {it.request.host}{it.request.path}</p>
        <p class="verdict"><Icon name={signs[it.outcome]} /> {t(`explain.outcome.${it.outcome}`)} <span class="verdict-text">{said(it.verdict.split("\n")[0])}</span></p>
        {it.podsOfNow && <p class="muted">{t("explain.podsOfNow")}</p>}
      </section>
      <ol class="hops">{it.hops.map((hop, i) => <li key={i}><OneHop hop={hop} /></li>)}</ol>
    </>
  );
}

function OneHop({ hop }: { hop: Hop }): JSX.Element {
  const { namespace, workload, direction } = hop.proxy;
  return (
    <section class="card hop">
      <h2><span class="hop-way" aria-hidden="true">{direction === "outbound" ? "↗" : "↘"}</span> <a href={href({ page: "workloads", path: [namespace, workload] })}>{workload}</a> <span class="muted">{t(`health.direction.${direction}`)} · {namespace}</span></h2>
      <ol class="steps">{hop.steps.map((s, i) => <OneStep key={i} it={s} />)}</ol>
    </section>
  );
}

/** The first line says why; what follows, where something does, is a resource to copy. */
function Because({ text }: { text: string }): JSX.Element {
  const [first, ...rest] = text.split("\n");
  const yaml = rest.join("\n").trim();
  return (
    <>
      <p class="muted">{first}</p>
      {yaml && <><pre class="yaml mono" tabIndex={0} aria-label="YAML">{yaml}</pre><p class="actions"><Copy text={yaml} what="YAML" /></p></>}
    </>
  );
}

function OneStep({ it }: { it: Step }): JSX.Element {
  return (
    <li class={it.ok ? "" : "is-bad"}>
      <span class="step-name"><span class="step-mark"><Icon name={it.ok ? "check" : "close"} size={14} /></span>{it.step}<span class="sr">{it.ok ? "" : ` ${t("explain.notOk")}`}</span></span>
      <div>
        <p class="strong wrap">{said(it.chosen)}</p>
        {it.because && <Because text={said(it.because)} />}
        {it.by && <p class="small"><a href={href({ page: "config", path: [it.by.namespace || "-", it.by.kind, it.by.name], extra: it.by.line > 0 ? { line: String(it.by.line) } : {} })}>{it.by.kind} {it.by.namespace && `${it.by.namespace}/`}{it.by.name}{it.by.line > 0 && `, ${t("findings.line", { line: it.by.line })}`}</a></p>}
        {it.rejected.length > 0 && (
          <details open={!it.ok}><summary class="muted small">{t("explain.rejected", { count: it.rejected.length })}</summary>
            <ul class="rejected small">{it.rejected.map((r) => <li key={r.what}><span class="mono wrap">{said(r.what)}</span><span class="muted">{said(r.why)}</span></li>)}</ul></details>
        )}
      </div>
    </li>
  );
}
