// An onset of errors with what was changed before it.
import type { JSX } from "preact";
import { t } from "../i18n/index.ts";
import { changes } from "../state/changes.ts";
import { clock, percent } from "../state/format.ts";
import { changedBefore, type Onset } from "../state/onset.ts";
import { go } from "../state/store.ts";
import { ChangeList } from "./changes.tsx";

export function OnsetReport({ onset, blur }: { onset: Onset; blur: number }): JSX.Element {
  const list = changedBefore(onset, changes.value, blur);
  return (
    <div class="onset">
      <p class="strong">{t("onset.title", { time: clock(onset.at).slice(0, 5), share: percent(onset.share) })}</p>
      <h3>{t("onset.changed")}</h3>
      {list.length ? <ChangeList list={list} /> : <p class="muted">{t("onset.nothing")}</p>}
      <p><button type="button" class="button" onClick={() => go({ page: "graph", path: [], at: Math.round(onset.at + blur), play: null, tab: "", extra: {}, selected: "" }, "push")}>{t("onset.look")}</button></p>
    </div>
  );
}
