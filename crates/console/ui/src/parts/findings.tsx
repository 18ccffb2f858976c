// What is wrong with an object: where, what it means, what to do.
import type { JSX } from "preact";
import type { Finding, FindingCount } from "../api/types.ts";
import { said, t } from "../i18n/index.ts";

export function Counts({ count }: { count: FindingCount }): JSX.Element {
  if (count.errors + count.warnings === 0) return <span class="muted">–</span>;
  return (
    <span class="counts">
      {count.errors > 0 && <span class="health health-failure">■ {t("findings.errors", { count: count.errors })}</span>}
      {count.warnings > 0 && <span class="health health-degraded">▲ {t("findings.warnings", { count: count.warnings })}</span>}
    </span>
  );
}

export function Findings({ list, onGo }: { list: Finding[]; onGo?: (line: number) => void }): JSX.Element {
  if (!list.length) return <p class="muted">{t("findings.none")}</p>;
  return (
    <ul class="findings">
      {list.map((f) => (
        <li key={`${f.code}${f.line}${f.message}`} class={`finding-${f.severity}`}>
          <p><strong>{said(f.message)}</strong> <span class="muted mono">{f.code}</span></p>
          {f.hint && <p>{said(f.hint)}</p>}
          {f.line > 0 && (onGo
            ? <button type="button" class="link small" onClick={() => onGo(f.line)}>{t("findings.line", { line: f.line })} {f.field && <span class="mono">{f.field}</span>}</button>
            : <p class="muted small">{t("findings.line", { line: f.line })} <span class="mono">{f.field}</span></p>)}
        </li>
      ))}
    </ul>
  );
}
