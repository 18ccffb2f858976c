// Why a request went, or would go, the way it goes: hop by hop, what was chosen, by which object, and why the rest lost.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { api } from "../api/client.ts";
import type { Explanation, Hop } from "../api/types.ts";
import { t } from "../i18n/index.ts";
import { Problem, Waiting } from "../parts/states.tsx";
import { useLoad } from "../state/load.ts";
import { go, href, view } from "../state/store.ts";

export default function Explain(): JSX.Element {
  const x = view.value.extra;
  const [form, set] = useState({ from: x.from ?? "", to: x.to ?? "", port: x.port ?? "", method: x.method ?? "GET", path: x.path ?? "/" });
  const ready = x.trace || (x.from && x.to);
  const at = view.value.at;
  const key = JSON.stringify([x, at]);
  const loaded = useLoad(key, () => {
    if (!ready) return Promise.resolve(null);
    const [namespace, workload] = (x.from ?? "").split("/");
    return api.explain(x.trace ? { traceId: x.trace } : { from: { namespace, workload: workload ?? "" }, to: { host: x.to, port: Number(x.port) || 0, method: x.method ?? "GET", path: x.path ?? "/", headers: {} }, at: at ?? undefined });
  });
  const field = (name: keyof typeof form, label: string, size: number, placeholder = ""): JSX.Element => (
    <label class="field">{label}<input type="text" size={size} value={form[name]} placeholder={placeholder} onInput={(e) => set({ ...form, [name]: e.currentTarget.value })} /></label>
  );
  return (
    <div class="page">
      <div class="page-head"><h1>{t("nav.explain")}</h1><span class="muted">{t("explain.lead")}</span></div>
      <form class="form-row" onSubmit={(e) => { e.preventDefault(); go({ extra: { ...form } }, "push"); }}>
        {field("from", t("explain.from"), 22, "blog-system/web")}
        {field("method", t("explain.method"), 5)}
        {field("to", t("explain.host"), 26, "was-service")}
        {field("port", t("explain.port"), 5, t("explain.port.first"))}
        {field("path", t("explain.path"), 20)}
        <button class="button primary" type="submit">{t("explain.ask")}</button>
      </form>
      {loaded.error && <Problem error={loaded.error} again={loaded.again} />}
      {ready && loaded.loading && !loaded.data && <Waiting />}
      {loaded.data && <Answer it={loaded.data} />}
    </div>
  );
}

function Answer({ it }: { it: Explanation }): JSX.Element {
  const tone = it.outcome === "ok" ? "good" : it.outcome === "passthrough" ? "" : "bad-callout";
  return (
    <>
      <section class={`callout ${tone}`}><p class="eyebrow mono">{it.request.method} {it.request.host}{it.request.path}</p><p class="verdict">{it.verdict}</p></section>
      {it.hops.map((hop) => <OneHop key={hop.proxy.workload + hop.proxy.direction} hop={hop} />)}
    </>
  );
}

function OneHop({ hop }: { hop: Hop }): JSX.Element {
  return (
    <section class="card hop">
      <h2>{hop.proxy.workload} <span class="muted">{t(`health.direction.${hop.proxy.direction}`)} · {hop.proxy.namespace}</span></h2>
      <ol class="steps">
        {hop.steps.map((s) => (
          <li key={s.step} class={s.ok ? "" : "is-bad"}>
            <span class="step-name">{s.step}</span>
            <div>
              <p class="strong wrap">{s.chosen}</p>
              <p class="muted">{s.because}</p>
              {s.by && <p class="small"><a href={href({ page: "config", path: [s.by.namespace, s.by.kind, s.by.name], extra: { line: String(s.by.line) } })}>{s.by.kind} {s.by.name}, {t("findings.line", { line: s.by.line })}</a></p>}
              {s.rejected.length > 0 && (
                <details><summary class="muted small">{t("explain.rejected", { count: s.rejected.length })}</summary>
                  <ul class="plain small">{s.rejected.map((r) => <li key={r.what}><span class="mono">{r.what}</span> <span class="muted">– {r.why}</span></li>)}</ul></details>
              )}
            </div>
          </li>
        ))}
      </ol>
    </section>
  );
}
