// The pages.
import type { JSX } from "preact";
import { t } from "../i18n/index.ts";
import { Icon } from "../parts/icons.tsx";
import { href, info, view } from "../state/store.ts";
import { pageNames } from "../state/url.ts";

export function Nav(): JSX.Element {
  return (
    <nav class="nav" aria-label={t("nav.label")}>
      <a class="brand" href={href({ page: "overview" })} aria-label="Varka"><img src="icon.svg" width="26" height="26" alt="" /><span aria-hidden="true">Varka</span></a>
      <ul>
        {pageNames.map((page) => (
          <li key={page}><a href={href({ page })} title={t(`nav.${page}`)} aria-current={view.value.page === page ? "page" : undefined}><Icon name={page} /><span>{t(`nav.${page}`)}</span></a></li>
        ))}
      </ul>
      <p class="version muted">{info.value?.version ?? ""}</p>
    </nav>
  );
}
