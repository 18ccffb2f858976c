// What stands where there is nothing yet, nothing at all, or something went wrong.
import type { JSX } from "preact";
import { Failed } from "../api/client.ts";
import { said, t } from "../i18n/index.ts";
import { asking } from "../state/store.ts";

export const Waiting = (): JSX.Element => <p class="waiting" role="status">{t("common.loading")}</p>;

export function Empty({ title, hint }: { title: string; hint?: string }): JSX.Element {
  return <div class="empty"><p>{title}</p>{hint && <p class="muted">{hint}</p>}</div>;
}

export function Problem({ error, again }: { error: Error; again?: () => void }): JSX.Element {
  return (
    <div class="problem" role="alert">
      <p>{said(error.message)}</p>
      {error instanceof Failed && error.body.hint && <p class="muted">{said(error.body.hint)}</p>}
      {error instanceof Failed && error.status === 401 && <button type="button" class="button primary" onClick={() => (asking.value = true)}>{t("sign.in")}</button>}
      {again && !(error instanceof Failed && error.status === 401) && <button type="button" class="button" onClick={again}>{t("common.retry")}</button>}
    </div>
  );
}
