// What was changed, newest first; a press looks at the moment right after it.
import type { JSX } from "preact";
import type { Change } from "../api/types.ts";
import { t } from "../i18n/index.ts";
import { clock } from "../state/format.ts";
import { go, href } from "../state/store.ts";

export function ChangeList({ list }: { list: Change[] }): JSX.Element {
  if (!list.length) return <p class="muted">{t("panel.noChanges")}</p>;
  return (
    <ol class="changes">
      {list.map((c) => (
        <li key={`${c.at}${c.kind}${c.name}${c.summary}`}>
          <button type="button" class="link" onClick={() => go({ at: Math.round(c.at) }, "push")}>{clock(c.at)}</button>
          <div><a href={href({ page: "config", path: [c.namespace, c.kind, c.name] })}>{c.kind} {c.name}</a><p class="muted">{[c.summary || t(`config.verb.${c.verb}`), c.by === "unknown" ? "" : c.by].filter(Boolean).join(" · ")}</p></div>
        </li>
      ))}
    </ol>
  );
}
