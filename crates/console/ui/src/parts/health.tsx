// How well a thing does: a sign that has a shape as well as a colour, and the reasons behind it.
import type { JSX } from "preact";
import type { Example, Health, HealthStatus } from "../api/types.ts";
import { t } from "../i18n/index.ts";
import { clock, duration, percent, short } from "../state/format.ts";
import { href } from "../state/store.ts";

const marks: Record<HealthStatus, string> = {
  healthy: "M5.5 10.5l3 3 6-7",
  degraded: "M10 6v5M10 13.8v.2",
  failure: "M7 7l6 6M13 7l-6 6",
  notReady: "M6.5 10h7",
  na: "M10 10h.1",
};
const outlines: Record<HealthStatus, string> = {
  healthy: "M10 2.2a7.8 7.8 0 1 0 0 15.6 7.8 7.8 0 0 0 0-15.6z",
  degraded: "M10 2.2L18.4 17H1.6z",
  failure: "M3.6 2.6h12.8a1 1 0 0 1 1 1v12.8a1 1 0 0 1-1 1H3.6a1 1 0 0 1-1-1V3.6a1 1 0 0 1 1-1z",
  notReady: "M10 2.2a7.8 7.8 0 1 0 0 15.6 7.8 7.8 0 0 0 0-15.6z",
  na: "M10 2.2a7.8 7.8 0 1 0 0 15.6 7.8 7.8 0 0 0 0-15.6z",
};

export function HealthSign({ status, word = false }: { status: HealthStatus; word?: boolean }): JSX.Element {
  const name = t(`health.${status}`);
  return (
    <span class={`health health-${status}`}>
      <svg width="16" height="16" viewBox="0 0 20 20" role={word ? undefined : "img"} aria-label={word ? undefined : name} aria-hidden={word ? "true" : undefined}>
        <path d={outlines[status]} class="outline" />
        <path d={marks[status]} class="mark" />
      </svg>
      {word && <span>{name}</span>}
    </span>
  );
}

/** Why it has this colour: the rule, what was measured, whether that is enough, the worst requests. */
export function HealthReasons({ health }: { health: Health }): JSX.Element {
  const { rule } = health;
  const from = (p: number): string => (p <= 0 ? t("health.rule.anyError") : percent(p / 100));
  return (
    <div class="reasons">
      <dl class="facts">
        <dt>{t("health.rule")}</dt>
        <dd>
          {rule
            ? t("health.rule.text", { protocol: rule.protocol.toUpperCase(), code: rule.code, direction: t(`health.direction.${rule.direction}`), degraded: from(rule.degraded), failure: from(rule.failure) })
            : t("health.rule.none")}
        </dd>
        {rule && <><dt>{t("health.rule.source")}</dt><dd>{rule.source}</dd></>}
        {health.total > 0 && (
          <><dt>{t("health.measured")}</dt>
            <dd>
              {t("health.measured.text", { errors: short(health.errors), total: short(health.total), share: percent(health.errors / health.total) })}
              {health.errors > 0 && <small>{health.significant ? t("health.significant") : t("health.insignificant")}</small>}
            </dd></>
        )}
        {health.replicas && (
          <><dt>{t("health.replicas")}</dt>
            <dd>
              {t("health.replicas.text", { available: health.replicas.available, desired: health.replicas.desired })}
              {health.replicas.syncedProxies >= 0 && <small>{t("health.proxies.text", { synced: health.replicas.syncedProxies, current: health.replicas.current })}</small>}
            </dd></>
        )}
      </dl>
      {health.examples.length > 0 && <Examples list={health.examples} />}
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
            <span class="code bad">{e.code}</span>
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
