// How well a thing does: a sign that has a shape as well as a colour, and the reasons behind it.
import type { JSX } from "preact";
import type { Example, Health, HealthStatus } from "../api/types.ts";
import { t } from "../i18n/index.ts";
import { clock, duration, isBad, percent, short } from "../state/format.ts";
import { href } from "../state/store.ts";

const marks: Record<HealthStatus, string> = {
  Healthy: "M5.5 10.5l3 3 6-7",
  Degraded: "M10 6v5M10 13.8v.2",
  Failure: "M7 7l6 6M13 7l-6 6",
  "Not Ready": "M6.5 10h7",
  NA: "M10 10h.1",
};
const outlines: Record<HealthStatus, string> = {
  Healthy: "M10 2.2a7.8 7.8 0 1 0 0 15.6 7.8 7.8 0 0 0 0-15.6z",
  Degraded: "M10 2.2L18.4 17H1.6z",
  Failure: "M3.6 2.6h12.8a1 1 0 0 1 1 1v12.8a1 1 0 0 1-1 1H3.6a1 1 0 0 1-1-1V3.6a1 1 0 0 1 1-1z",
  "Not Ready": "M10 2.2a7.8 7.8 0 1 0 0 15.6 7.8 7.8 0 0 0 0-15.6z",
  NA: "M10 2.2a7.8 7.8 0 1 0 0 15.6 7.8 7.8 0 0 0 0-15.6z",
};

/** How a state is called in messages and in the style sheet. */
const slugs = { Healthy: "healthy", Degraded: "degraded", Failure: "failure", "Not Ready": "notReady", NA: "na" } as const;

export const healthWord = (status: HealthStatus): string => t(`health.${slugs[status]}`);

export function HealthSign({ status, word = false }: { status: HealthStatus; word?: boolean }): JSX.Element {
  const name = healthWord(status);
  return (
    <span class={`health health-${slugs[status]}`}>
      <svg width="16" height="16" viewBox="0 0 20 20" role={word ? undefined : "img"} aria-label={word ? undefined : name} aria-hidden={word ? "true" : undefined}>
        <path d={outlines[status]} class="outline" />
        <path d={marks[status]} class="mark" />
      </svg>
      {word && <span>{name}</span>}
    </span>
  );
}

/** Why it has this colour: the rule, what was measured, whether that is enough, the worst requests. */
export function HealthReasons({ health, examples }: { health: Health; examples: Example[] }): JSX.Element {
  const { reason, notEnoughData } = health.verdict;
  const from = (p: number): string => (p <= 0 ? t("health.rule.anyError") : percent(p / 100));
  return (
    <div class="reasons">
      <dl class="facts">
        <dt>{t("health.rule")}</dt>
        <dd>
          {reason
            ? t("health.rule.text", { protocol: reason.protocol.toUpperCase(), code: reason.tolerance.code, direction: t(`health.direction.${reason.direction}`), degraded: from(reason.tolerance.degraded), failure: from(reason.tolerance.failure) })
            : t("health.rule.none")}
        </dd>
        {reason && (
          <><dt>{t("health.measured")}</dt>
            <dd>
              {t("health.measured.text", { errors: short(reason.errors), total: short(reason.all), share: percent(reason.percent / 100) })}
              <small>{t("health.interval", { low: percent(reason.interval.low / 100), high: percent(reason.interval.high / 100) })}</small>
              {reason.errors > 0 && <small>{notEnoughData ? t("health.insignificant", { status: healthWord(reason.ifCertain) }) : t("health.significant")}</small>}
            </dd></>
        )}
        {health.workloads?.map((w) => (
          <><dt>{t("health.replicas")}{health.workloads!.length > 1 && ` · ${w.name}`}</dt>
            <dd>
              {t("health.replicas.text", { available: w.available, desired: w.desired })}
              {w.syncedProxies >= 0 && <small>{t("health.proxies.text", { synced: w.syncedProxies, current: w.current })}</small>}
            </dd></>
        ))}
      </dl>
      {examples.length > 0 && <Examples list={examples} />}
    </div>
  );
}

function Examples({ list }: { list: Example[] }): JSX.Element {
  return (
    <div>
      <h4>{t("health.examples")}</h4>
      <ul class="examples">
        {list.map((e) => (
          <li key={`${e.at}${e.traceId}`}>
            <span class={`code ${isBad(e.code) ? "bad" : ""}`}>{e.code === "0" ? "–" : e.code}</span>
            <span class="mono grow">{e.method} {e.path}</span>
            <span class="muted">{duration(e.duration)}</span>
            {e.flags !== "" && e.flags !== "-" && <span class="flag">{e.flags}</span>}
            {e.traceId
              ? <a href={href({ page: "traces", path: [e.traceId] })}>{clock(e.at)}</a>
              : <span class="muted">{clock(e.at)}</span>}
          </li>
        ))}
      </ul>
    </div>
  );
}
