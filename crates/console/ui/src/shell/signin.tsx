// Signing in and out. The token is sent once and never kept here: the server puts it into a cookie that no script can read.
import type { JSX, TargetedSubmitEvent } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { api, Failed, PREFIX } from "../api/client.ts";
import { said, t } from "../i18n/index.ts";
import { Copy } from "../parts/copy.tsx";
import { access, asking, signedIn } from "../state/store.ts";

/** At the head of every page: who one is, and the way in or out. */
export function Who(): JSX.Element {
  const { mode, user } = access.value;
  const out = async (): Promise<void> => { await api.logout(); await signedIn(); };
  return (
    <>
      <span class="muted small user" title={user ?? undefined}>{user ? t("top.user", { user: shorter(user) }) : t("top.anonymous")}</span>
      {mode !== "anonymous" && (user
        ? <button type="button" class="button" onClick={() => void out()}>{t("sign.out")}</button>
        : <button type="button" class="button primary" onClick={() => (asking.value = true)}>{t("sign.in")}</button>)}
    </>
  );
}

/** Service accounts have long names, of which the end is what tells them apart. */
const shorter = (user: string): string => user.replace(/^system:serviceaccount:/, "");

/** Over the page, which keeps what was typed into it. */
export function SignIn(): JSX.Element | null {
  const dialog = useRef<HTMLDialogElement>(null);
  const open = asking.value && access.value.mode !== "anonymous";
  useEffect(() => { if (open && !dialog.current?.open) dialog.current?.showModal(); }, [open]);
  if (!open) return null;
  return (
    <dialog ref={dialog} class="sign-in" aria-labelledby="sign-in-title" onClose={() => (asking.value = false)}>
      <h2 id="sign-in-title">{t("sign.title")}</h2>
      {access.value.mode === "token" ? <Token /> : <Provider />}
    </dialog>
  );
}

function Token(): JSX.Element {
  const [token, put] = useState("");
  const [error, fail] = useState<Failed | null>(null);
  const [busy, work] = useState(false);
  const send = async (e: TargetedSubmitEvent<HTMLFormElement>): Promise<void> => {
    e.preventDefault();
    work(true);
    fail(null);
    try { await api.login({ token: token.trim() }); put(""); await signedIn(); } catch (found) { fail(found as Failed); } finally { work(false); }
  };
  const make = "kubectl create token NAME --namespace NAMESPACE";
  return (
    <form class="form" onSubmit={(e) => void send(e)}>
      <p class="muted">{t("sign.token.lead")}</p>
      <label class="field">{t("sign.token")}<input type="password" autocomplete="off" spellcheck={false} value={token} aria-describedby={error ? "sign-in-error" : undefined} aria-invalid={error ? "true" : undefined} onInput={(e) => put(e.currentTarget.value)} autofocus /></label>
      {error && <div id="sign-in-error" class="problem" role="alert"><p>{said(error.message)}</p>{error.body.hint && <p class="muted">{said(error.body.hint)}</p>}</div>}
      <p class="small muted">{t("sign.token.how")}</p>
      <p class="command"><code class="mono">{make}</code><Copy text={make} /></p>
      <p class="small muted">{t("sign.kept")}</p>
      <Buttons><button type="submit" class="button primary" disabled={busy || !token.trim()}>{t("sign.in")}</button></Buttons>
    </form>
  );
}

function Provider(): JSX.Element {
  const to = encodeURIComponent(location.pathname + location.search);
  return (
    <div class="form">
      <p class="muted">{t("sign.oidc.lead")}</p>
      <Buttons><a class="button primary" href={`${PREFIX}/login/oidc?to=${to}`}>{t("sign.oidc.go")}</a></Buttons>
    </div>
  );
}

const Buttons = ({ children }: { children: JSX.Element }): JSX.Element => (
  <p class="actions">{children}<button type="button" class="button" onClick={(e) => e.currentTarget.closest("dialog")!.close()}>{t("common.cancel")}</button></p>
);
