// From the graph to what changes it: the wizards of a service; and what was changed before something failed.
import type { JSX } from "preact";
import { ChangeList } from "../parts/changes.tsx";
import { t } from "../i18n/index.ts";
import { changes } from "../state/changes.ts";
import { href, moment, view } from "../state/store.ts";
import { wizardKinds } from "../state/url.ts";

export function Change({ service }: { service: { namespace: string; name: string } }): JSX.Element {
  return (
    <section><h3>{t("panel.wizards")} <span class="muted">{service.name}</span></h3>
      <p class="links">{wizardKinds.map((kind) => <a key={kind} href={href({ page: "services", path: [service.namespace, service.name], tab: "wizards", extra: { wizard: kind } })}>{t(`wizard.${kind}`)}</a>)}</p>
    </section>
  );
}

/** Of the window that the numbers are taken over, and the ten minutes before it. */
export function ChangedBefore(): JSX.Element {
  const until = moment.value;
  const list = changes.value.filter((c) => c.at <= until && c.at > until - view.value.window - 600).slice(-4).reverse();
  return <section><h3>{t("panel.changedBefore")}</h3>{list.length ? <ChangeList list={list} /> : <p class="muted">{t("panel.noChanges")}</p>}</section>;
}
