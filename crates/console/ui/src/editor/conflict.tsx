// Somebody else changed the object while it was edited here: what they changed, and the two ways on.
import type { JSX } from "preact";
import { api, type Failed } from "../api/client.ts";
import type { ObjectRef } from "../api/types.ts";
import { said, t } from "../i18n/index.ts";
import { Problem, Waiting } from "../parts/states.tsx";
import { moment } from "../state/format.ts";
import { useLoad } from "../state/load.ts";
import { Difference } from "./difference.tsx";

/** What an edited text was made from. */
export interface Base { ref: Pick<ObjectRef, "namespace" | "kind" | "name">; yaml: string; resourceVersion: string }

export function Conflict({ base, error, onMine, onTake, onTheirs }: { base: Base; error: Failed; onMine: (resourceVersion: string) => void; onTake: () => void; onTheirs?: () => void }): JSX.Element {
  const { data, error: failed, again } = useLoad(`conflict/${base.ref.kind}/${base.ref.namespace}/${base.ref.name}`, () => api.object(base.ref, null));
  const last = data?.history[0];
  // It is as it was: then it is its fields that are another's.
  if (data?.resourceVersion === base.resourceVersion) return <Managed error={error} onTake={onTake} />;
  return (
    <section class="callout" role="alert">
      <h3>{t("conflict.title")}</h3>
      <p>{said(error.message)}</p>
      {failed && <Problem error={failed} again={again} />}
      {!data && !failed && <Waiting />}
      {data && last && <p class="muted">{t("conflict.theirs", { who: last.by || "?", when: moment(last.at) })} {last.summary}</p>}
      {data && <Difference before={base.yaml} after={data.yaml} label={t("conflict.difference")} />}
      {data && (
        <p class="actions">
          <button type="button" class="button primary" onClick={() => onMine(data.resourceVersion)}>{t("conflict.mine")}</button>
          {onTheirs && <button type="button" class="button" onClick={onTheirs}>{t("conflict.takeTheirs")}</button>}
        </p>
      )}
    </section>
  );
}

/** Another manager, such as a canary controller or a Git repository, keeps what would be changed: it may change it back. */
export function Managed({ error, onTake }: { error: Failed; onTake: () => void }): JSX.Element {
  return (
    <section class="callout" role="alert">
      <h3>{t("managed.title")}</h3>
      <p class="wrap">{said(error.message)}</p>
      {error.body.hint && <p class="muted wrap">{said(error.body.hint)}</p>}
      <p class="muted">{t("managed.lead")}</p>
      <p class="actions"><button type="button" class="button primary" onClick={onTake}>{t("managed.take")}</button></p>
    </section>
  );
}
