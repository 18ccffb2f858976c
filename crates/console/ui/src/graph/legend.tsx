// What the picture means. The samples are drawn as the picture is, with the same patterns.
import type { JSX } from "preact";
import { t } from "../i18n/index.ts";
import type { Tone } from "./model.ts";
import { type Sign, signs } from "./signs.ts";

const tones: Tone[] = ["mtls", "plain", "tcp", "degraded", "failure", "idle"];
const dash: Partial<Record<Tone, string>> = { plain: "7 4", degraded: "9 3 2.5 3", idle: "2 4" };
const shapes = {
  circle: "M10 2.5a7.5 7.5 0 1 0 0 15 7.5 7.5 0 0 0 0-15z",
  square: "M5 3h10a2 2 0 0 1 2 2v10a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V5a2 2 0 0 1 2-2z",
  diamond: "M10 1.5l8.5 8.5-8.5 8.5L1.5 10z",
  trapezoid: "M6 4h8l4 12H2z",
  octagon: "M6.5 2h7L18 6.5v7L13.5 18h-7L2 13.5v-7z",
  stack: "M5 4h10a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V6a2 2 0 0 1 2-2zM10 7v6M7 10h6",
} as const;

export function Legend(): JSX.Element {
  return (
    <div class="legend">
      <h2 class="minor">{t("legend.lines")}</h2>
      <ul>
        {tones.map((tone) => (
          <li key={tone}>
            <svg width="34" height="12" aria-hidden="true" class={`tone-${tone}`}>
              {tone === "failure"
                ? <path d="M0 4.2h34M0 7.8h34" stroke="currentColor" stroke-width="1.6" />
                : <path d="M0 6h34" stroke="currentColor" stroke-width={tone === "idle" ? 1.2 : 2.2} stroke-dasharray={dash[tone]} />}
            </svg>
            {t(`tone.${tone}`)}
          </li>
        ))}
        <li><svg width="34" height="14" viewBox="-17 -8 34 14" aria-hidden="true" class="tone-mtls"><path d="M-4-1h8v6h-8z" fill="currentColor" /><path d="M-2.5-1v-2a2.5 2.5 0 0 1 5 0v2" fill="none" stroke="currentColor" stroke-width="1.5" /></svg>{t("legend.lock")}</li>
        <li><svg width="34" height="14" viewBox="-17 -8 34 14" aria-hidden="true" class="tone-mtls"><path d="M-4-1h8v6h-8z" fill="currentColor" /><path d="M-2.5-1v-3a2.5 2.5 0 0 1 4.6-1.3" fill="none" stroke="currentColor" stroke-width="1.5" /></svg>{t("legend.lockOpen")}</li>
      </ul>
      <h2 class="minor">{t("legend.nodes")}</h2>
      <ul class="two">
        {(Object.keys(shapes) as (keyof typeof shapes)[]).map((s) => (
          <li key={s}><svg width="20" height="20" aria-hidden="true"><path d={shapes[s]} fill="none" stroke="currentColor" stroke-width="1.6" /></svg>{t(`shape.${s}`)}</li>
        ))}
      </ul>
      <h2 class="minor">{t("legend.dots")}</h2>
      <ul>
        <li><svg width="34" height="12" aria-hidden="true" class="tone-mtls"><circle cx="17" cy="6" r="3.4" fill="currentColor" /></svg>{t("legend.dot.ok")}</li>
        <li><svg width="34" height="12" aria-hidden="true" class="tone-failure"><path d="M17 1l5 5-5 5-5-5z" fill="currentColor" /></svg>{t("legend.dot.failed")}</li>
        <li><svg width="34" height="12" aria-hidden="true" class="tone-plain"><path d="M14 3h6v6h-6z" fill="currentColor" /></svg>{t("legend.dot.tcp")}</li>
      </ul>
      <h2 class="minor">{t("legend.badges")}</h2>
      <ul class="two">{(Object.keys(signs) as Sign[]).map((s) => <li key={s}><svg width="20" height="14" viewBox="-4 -1 20 14" aria-hidden="true"><path d={signs[s]} fill="none" stroke="currentColor" stroke-width="1.3" /></svg>{t(`badge.${s}`)}</li>)}</ul>
    </div>
  );
}
