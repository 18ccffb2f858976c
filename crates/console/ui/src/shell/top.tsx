// The head of every page: which namespaces, over which window, in which light and language.
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { stranger } from "../api/client.ts";
import { connection, subscribe } from "../api/stream.ts";
import { type Language, language, setLanguage, t } from "../i18n/index.ts";
import { HealthSign } from "../parts/health.tsx";
import { Popover } from "../parts/popover.tsx";
import { span } from "../state/format.ts";
import { Who } from "./signin.tsx";
import { access, go, info, theme, view, whyReadOnly } from "../state/store.ts";
import type { Theme } from "../state/theme.ts";
import { windows } from "../state/url.ts";

/** States of namespaces follow the stream. */
function useHealth(): void {
  useEffect(() => subscribe("health", {}, (event) => {
    const it = info.peek();
    if (event.kind === "namespace" && it) info.value = { ...it, namespaces: it.namespaces.map((n) => (n.name === event.name ? { ...n, health: event.status } : n)) };
  }), []);
}

export function Top(): JSX.Element {
  useHealth();
  const v = view.value;
  const it = info.value;
  return (
    <header class="top">
      <Namespaces />
      <label class="inline">{t("top.window")}
        <select value={v.window} onChange={(e) => go({ window: Number(e.currentTarget.value) })}>
          {windows.map((w) => <option key={w} value={w}>{span(w)}</option>)}
        </select>
      </label>
      <span class="grow" />
      {connection.value === "lost" && !stranger.value && <span class="lost" role="status">{t("top.connection.lost")}</span>}
      {it && access.value.readOnly && <span class="chip" title={whyReadOnly.value}>{t("top.readOnly")}</span>}
      {it && <Who />}
      <select aria-label={t("top.language")} value={language.value} onChange={(e) => void setLanguage(e.currentTarget.value as Language)}>
        <option value="en">English</option>
        <option value="ko">한국어</option>
      </select>
      <select aria-label={t("top.theme")} value={theme.value} onChange={(e) => (theme.value = e.currentTarget.value as Theme)}>
        {(["auto", "light", "dark"] as const).map((c) => <option key={c} value={c}>{t(`top.theme.${c}`)}</option>)}
      </select>
    </header>
  );
}

function Namespaces(): JSX.Element {
  const chosen = view.value.namespaces;
  const all = info.value?.namespaces ?? [];
  const label = chosen.length === 0 ? t("top.allNamespaces") : chosen.length <= 2 ? chosen.join(", ") : `${chosen.length} / ${all.length}`;
  const toggle = (name: string): void => go({ namespaces: chosen.includes(name) ? chosen.filter((n) => n !== name) : [...chosen, name].sort(), selected: "" });
  return (
    <Popover id="namespaces" label={<><span class="muted">{t("top.namespaces")}</span> {label}</>}>
      <div class="picker">
        <label class="check"><input type="checkbox" checked={chosen.length === 0} onChange={() => go({ namespaces: [], selected: "" })} />{t("top.allNamespaces")}</label>
        {all.map((n) => (
          <label key={n.name} class="check"><input type="checkbox" checked={chosen.includes(n.name)} onChange={() => toggle(n.name)} /><span class="grow">{n.name}</span>{n.health !== "NA" && <HealthSign status={n.health} />}</label>
        ))}
      </div>
    </Popover>
  );
}
