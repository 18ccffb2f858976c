// From YAML to the mesh: first a dry run, which shows the difference, what is found, and what it would have done to the last
// hour's requests; only then can it be applied. With the caller's own permissions, and not at all where it is read-only.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { api, Failed } from "../api/client.ts";
import type { ApplyAnswer } from "../api/types.ts";
import { t } from "../i18n/index.ts";
import { Findings } from "../parts/findings.tsx";
import { short } from "../state/format.ts";
import { access } from "../state/store.ts";
import { Difference } from "./editor.tsx";

export function Apply({ yaml, resourceVersion = null, onApplied }: { yaml: string; resourceVersion?: string | null; onApplied?: () => void }): JSX.Element {
  const [answer, set] = useState<ApplyAnswer | null>(null);
  const [error, fail] = useState<Error | null>(null);
  const [busy, work] = useState(false);
  // Another text needs another look.
  useEffect(() => { set(null); fail(null); }, [yaml]);
  const run = async (dryRun: boolean): Promise<void> => {
    work(true);
    fail(null);
    try {
      const got = await api.apply({ yaml, dryRun, resourceVersion });
      set(got);
      if (!dryRun) onApplied?.();
    } catch (e) { fail(e as Error); set(null); } finally { work(false); }
  };
  const nothing = answer !== null && answer.objects.every((o) => o.verb === "unchanged");
  return (
    <div class="apply">
      {!answer && <pre class="yaml mono" tabIndex={0} aria-label="YAML">{yaml}</pre>}
      {answer && answer.objects.map((o) => (
        <section key={o.ref.kind + o.ref.name}>
          <h3>{o.ref.kind} {o.ref.name} <span class="muted">{t(`apply.verb.${o.verb}`)}</span></h3>
          {o.verb !== "unchanged" && <Difference before={o.before} after={o.after} label={t("apply.difference", { name: o.ref.name })} />}
        </section>
      ))}
      {answer?.effect && !answer.applied && !nothing && <Effect it={answer.effect} />}
      {answer && answer.findings.length > 0 && <Findings list={answer.findings} />}
      {error && <div class="problem" role="alert"><p>{error.message}</p>{error instanceof Failed && <><p class="muted">{error.body.hint}</p>{error.body.findings && <Findings list={error.body.findings} />}</>}</div>}
      {answer?.applied && <p class="callout good" role="status">{t("apply.done")}</p>}
      {nothing && !answer?.applied && <p class="muted" role="status">{t("apply.nothing")}</p>}
      <p class="actions">
        {!answer && <button type="button" class="button primary" disabled={busy || !yaml.trim()} onClick={() => void run(true)}>{t("apply.review")}</button>}
        {answer && !answer.applied && <button type="button" class="button primary" disabled={busy || nothing || access.value.readOnly} onClick={() => void run(false)}>{t("apply.apply")}</button>}
        {answer && !answer.applied && <button type="button" class="button" onClick={() => set(null)}>{t("common.cancel")}</button>}
        <button type="button" class="button" onClick={() => void navigator.clipboard?.writeText(yaml)}>{t("common.copy")} YAML</button>
        {access.value.readOnly && <span class="muted small">{access.value.why || t("top.readOnly.why")}</span>}
      </p>
    </div>
  );
}

function Effect({ it }: { it: NonNullable<ApplyAnswer["effect"]> }): JSX.Element {
  return (
    <section class="callout quiet">
      <h3>{t("apply.effect")}</h3>
      <p>{t("apply.effect.text", { sampled: short(it.sampled), rerouted: short(it.rerouted), denied: short(it.denied) })}</p>
      {it.examples.map((e) => <p key={e.request} class="small"><span class="mono">{e.request}</span>: {e.before} → {e.after}</p>)}
    </section>
  );
}
