// Somebody else changed the object while it was edited here: what they changed, and the two ways on.
import type { JSX } from "preact";
import { api, type Failed } from "../api/client.ts";
import type { ObjectRef } from "../api/types.ts";
import { t } from "../i18n/index.ts";
import { Problem, Waiting } from "../parts/states.tsx";
import { moment } from "../state/format.ts";
import { useLoad } from "../state/load.ts";
import { Difference } from "./difference.tsx";

/** What an edited text was made from. */
export interface Base { ref: Pick<ObjectRef, "namespace" | "kind" | "name">; yaml: string; resourceVersion: string }

export function Conflict({ base, error, onMine, onTheirs }: { base: Base; error: Failed; onMine: (resourceVersion: string) => void; onTheirs?: () => void }): JSX.Element {
  const { data, error: failed, again } = useLoad(`conflict/${base.ref.kind}/${base.ref.namespace}/${base.ref.name}`, () => api.object(base.ref, null));
  const last = data?.history[0];
  return (
    <section class="callout" role="alert">
      <h3>{t("conflict.title")}</h3>
      <p>{error.message}</p>
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
