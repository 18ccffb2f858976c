// From YAML to the mesh: first a dry run, which shows the difference, what is found, and what it would have done to the
// requests of the last minutes; only then can it be applied. With the caller's own permissions, and not at all where it is read-only.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { api, Failed } from "../api/client.ts";
import type { ApplyAnswer } from "../api/types.ts";
import { said, t } from "../i18n/index.ts";
import { Copy } from "../parts/copy.tsx";
import { Findings } from "../parts/findings.tsx";
import { Problem } from "../parts/states.tsx";
import { access, session, whyReadOnly } from "../state/store.ts";
import { type Base, Conflict, Managed } from "./conflict.tsx";
import { Difference, DifferenceLook } from "./difference.tsx";
import { EffectCallout } from "./effect.tsx";

/** `base`: the object that the text was made from; null: there is none, or there are several. `now`: without another press. */
export function Apply({ yaml, base = null, now = false, onApplied, onTheirs }: {
  yaml: string; base?: Base | null; now?: boolean; onApplied?: (answer: ApplyAnswer) => void; onTheirs?: () => void;
}): JSX.Element {
  const [answer, set] = useState<ApplyAnswer | null>(null);
  const [error, fail] = useState<Error | null>(null);
  const [busy, work] = useState(false);
  // Of the object as it was looked at last: after a conflict, of the other's.
  const [version, look] = useState(base?.resourceVersion ?? null);
  const [force, take] = useState(false);
  const run = async (dryRun: boolean, of: string | null = version, over = force): Promise<void> => {
    work(true);
    fail(null);
    try {
      const got = await api.apply({ yaml, dryRun, resourceVersion: of, ...(over ? { force: true } : {}) });
      set(got);
      if (!dryRun) onApplied?.(got);
    } catch (e) { fail(e as Error); set(null); } finally { work(false); }
  };
  // Another text, or somebody else, needs another look.
  useEffect(() => { set(null); fail(null); take(false); if (now) void run(true, version, false); }, [yaml, session.value]);
  const nothing = answer !== null && answer.objects.every((o) => o.verb === "unchanged");
  const conflict = error instanceof Failed && error.body.code === "conflict";
  const managed = error instanceof Failed && error.body.code === "managed";
  const takeOver = (): void => { take(true); void run(true, version, true); };
  return (
    <div class="apply" aria-busy={busy}>
      {!answer && !error && (now ? <p class="muted" role="status">{t("common.loading")}</p> : <pre class="yaml mono" tabIndex={0} aria-label="YAML">{yaml}</pre>)}
      {answer && !nothing && <DifferenceLook />}
      {answer && answer.objects.map((o) => (
        <section key={o.ref.kind + o.ref.name}>
          <h3>{o.ref.kind} {o.ref.name} <span class="muted">{t(`apply.verb.${o.verb}`)}</span></h3>
          {o.verb !== "unchanged" && <Difference before={o.before} after={o.after} label={t("apply.difference", { name: o.ref.name })} />}
        </section>
      ))}
      {answer?.effect && !answer.applied && !nothing && <EffectCallout it={answer.effect} />}
      {answer && answer.findings.length > 0 && <Findings list={answer.findings} />}
      {managed && <Managed error={error} onTake={takeOver} />}
      {conflict && base && <Conflict base={base} error={error} onTake={takeOver} onTheirs={onTheirs} onMine={(resourceVersion) => { look(resourceVersion); void run(true, resourceVersion); }} />}
      {error && !managed && !(conflict && base) && <Refused error={error} />}
      {answer?.applied && !onApplied && <p class="callout good" role="status">{t("apply.done")}</p>}
      {nothing && !answer?.applied && <p class="muted" role="status">{t("apply.nothing")}</p>}
      <p class="actions">
        {!answer && !error && <button type="button" class="button primary" disabled={busy || !yaml.trim()} onClick={() => void run(true)}>{t("apply.review")}</button>}
        {error && !conflict && !managed && <button type="button" class="button" disabled={busy} onClick={() => void run(true)}>{t("common.retry")}</button>}
        {answer && !answer.applied && <button type="button" class="button primary" disabled={busy || nothing || access.value.readOnly} onClick={() => void run(false)}>{t("apply.apply")}</button>}
        {answer && !answer.applied && !now && <button type="button" class="button" onClick={() => set(null)}>{t("common.cancel")}</button>}
        <Copy text={yaml} what="YAML" />
        {access.value.readOnly && <span class="muted small">{whyReadOnly.value}</span>}
      </p>
    </div>
  );
}

/** What the server did not want, and what is missing. */
function Refused({ error }: { error: Error }): JSX.Element {
  if (!(error instanceof Failed) || error.status === 401) return <Problem error={error} />;
  return (
    <div class="problem" role="alert">
      {error.status === 403 && error.body.code === "forbidden" && <p class="strong">{t("apply.forbidden")}</p>}
      {error.status === 409 && <p class="strong">{t("conflict.title")}</p>}
      <p class="wrap">{said(error.message)}</p>
      {error.body.hint && <p class="muted wrap">{said(error.body.hint)}</p>}
      {error.body.findings && <Findings list={error.body.findings} />}
    </div>
  );
}
