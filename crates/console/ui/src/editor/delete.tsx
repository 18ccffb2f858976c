// Taking an object away: what that does and who would make it anew is shown first, over its YAML; then somebody has to say so.
// With the caller's own permissions, and not at all where it is read-only.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { api, Failed } from "../api/client.ts";
import type { DeleteAnswer, ObjectDetail } from "../api/types.ts";
import { t } from "../i18n/index.ts";
import { Findings } from "../parts/findings.tsx";
import { Problem } from "../parts/states.tsx";
import { access, href, session, whyReadOnly } from "../state/store.ts";
import { EffectCallout } from "./effect.tsx";

/** `onDeleted`: it is gone; `onLook`: it is not what it was, and is to be looked at anew. */
export function Delete({ it, onDeleted, onLook }: { it: ObjectDetail; onDeleted: () => void; onLook: () => void }): JSX.Element {
  const [open, ask] = useState(false);
  return (
    <>
      <button type="button" class="button" aria-haspopup="dialog" onClick={() => ask(true)}>{t("delete.delete")}</button>
      {open && <Confirm it={it} onClose={() => ask(false)} onDeleted={onDeleted} onLook={onLook} />}
    </>
  );
}

function Confirm({ it, onClose, onDeleted, onLook }: { it: ObjectDetail; onClose: () => void; onDeleted: () => void; onLook: () => void }): JSX.Element {
  const dialog = useRef<HTMLDialogElement>(null);
  const [answer, got] = useState<DeleteAnswer | null>(null);
  const [error, fail] = useState<Error | null>(null);
  const [busy, work] = useState(false);
  // It is to go, but something has to let go of it first.
  const [marked, mark] = useState(false);
  const run = async (dryRun: boolean): Promise<void> => {
    work(true);
    fail(null);
    try {
      const answer = await api.delete({ ref: it.ref, dryRun, resourceVersion: it.resourceVersion });
      got(answer);
      if (answer.deleted) onDeleted();
      else mark(!dryRun);
    } catch (e) { fail(e as Error); got(null); } finally { work(false); }
  };
  useEffect(() => { dialog.current?.showModal(); }, []);
  // Somebody else may delete other things.
  useEffect(() => { void run(true); }, [session.value]);
  const { kind, name, namespace } = it.ref;
  const changed = error instanceof Failed && error.status === 409;
  return (
    <dialog ref={dialog} class="confirm" aria-labelledby="delete-title" onClose={onClose}>
      <h2 id="delete-title">{t("delete.title", { kind, name })}</h2>
      {namespace && <p class="muted">{t("common.namespace")}: {namespace}</p>}
      {it.affects.length > 0
        ? <div><p>{t("delete.affects", { count: it.affects.length })}</p><ul class="plain links">{it.affects.map((w) => <li key={w.namespace + w.name}><a href={href({ page: "workloads", path: [w.namespace, w.name] })}>{w.name}</a> <span class="muted">{w.namespace}</span></li>)}</ul></div>
        : <p>{t("delete.affects.none")}</p>}
      <pre class="yaml mono" tabIndex={0} aria-label="YAML">{answer?.yaml ?? it.yaml}</pre>
      {answer?.effect && <EffectCallout it={answer.effect} />}
      {answer && answer.findings.length > 0 && <Findings list={answer.findings} />}
      {marked && <p class="callout" role="status">{t("delete.marked")}</p>}
      {error && <Problem error={error} />}
      {error instanceof Failed && error.body.findings && <Findings list={error.body.findings} />}
      {!marked && <p class="muted small">{t("delete.afterwards")}</p>}
      <p class="actions">
        {!marked && !changed && <button type="button" class="button danger" disabled={busy || !answer || access.value.readOnly} onClick={() => void run(false)}>{t("delete.do", { name })}</button>}
        {changed && <button type="button" class="button primary" onClick={onLook}>{t("delete.look")}</button>}
        <button type="button" class="button" autofocus onClick={() => dialog.current?.close()}>{t(marked ? "common.close" : "common.cancel")}</button>
        {busy && <span class="muted" role="status">{t("common.loading")}</span>}
        {access.value.readOnly && <span class="muted small">{whyReadOnly.value}</span>}
      </p>
    </dialog>
  );
}
