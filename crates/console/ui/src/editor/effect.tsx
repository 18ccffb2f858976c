// What a change would have done to the requests of the last minutes, as the server says: whom it refuses, where they would go instead,
// which object says so, and what cannot be said.
import type { JSX } from "preact";
import type { Effect, EffectGroup } from "../api/types.ts";
import { said, t } from "../i18n/index.ts";
import { percent, short, span } from "../state/format.ts";
import { href } from "../state/store.ts";

/** `outbound|8080|canary|was.blog.svc.cluster.local` → `was.blog (canary)`; what is no cluster of a service stays. */
export function destination(cluster: string): string {
  const [side, , subset, host] = cluster.split("|");
  if (side !== "outbound" || !host) return cluster;
  return hostOf(host) + (subset ? ` (${subset})` : "");
}

/** `was.blog.svc.cluster.local` → `was.blog`. */
export function hostOf(host: string): string {
  const at = host.indexOf(".svc.");
  return at > 0 ? host.slice(0, at) : host;
}

/** Where requests go, told so that the two ends of a group differ where they do. */
export function ends(group: EffectGroup): [string, string] {
  const [before, after] = [destination(group.before.cluster), destination(group.after.cluster)];
  const told = (end: string, met: EffectGroup["before"]): string => end || met.workload || (met.status === null ? met.outcome : String(met.status));
  if (before !== after) return [told(before, group.before), told(after, group.after)];
  return [group.before.workload || told(before, group.before), group.after.workload || told(after, group.after)];
}

/** Statuses that came back, the most frequent first: `200, 404`. */
export function codesOf(group: EffectGroup): string {
  const codes = Object.entries(group.codes).sort((a, b) => b[1] - a[1]).map(([code]) => (code === "0" ? "–" : code));
  return codes.slice(0, 3).join(", ") + (codes.length > 3 ? ", …" : "");
}

/** What becomes of them, in a sentence. */
export function sentence(group: EffectGroup): string {
  const count = short(group.requests);
  const status = String(group.after.status ?? "–");
  const [before, after] = ends(group);
  switch (group.kind) {
    case "denied": return t("effect.denied", { count, status, codes: codesOf(group) });
    case "failed": return t("effect.failed", { count, status, codes: codesOf(group) });
    case "rerouted": return t("effect.rerouted", { count, before, after });
    case "altered": return t("effect.altered", { count });
    case "allowed": return t("effect.allowed", { count, codes: codesOf(group) });
    case "mended": return t("effect.mended", { count, codes: codesOf(group) });
    case "unknown": return t("effect.unknown", { count, what: said(group.because) });
  }
}

export function EffectCallout({ it }: { it: Effect }): JSX.Element {
  const left: [number, string][] = [
    [it.more, t("effect.more", { count: short(it.more) })],
    [it.unrecorded, t("effect.unrecorded", { count: short(it.unrecorded) })],
    [it.unread, t("effect.unread", { count: short(it.unread) })],
    [it.unexamined, t("effect.unexamined", { count: short(it.unexamined) })],
    [it.hidden, t("effect.hidden", { count: short(it.hidden) })],
  ];
  return (
    <section class="callout quiet effect" aria-label={t("apply.effect")}>
      <h3>{t("apply.effect")}</h3>
      {it.requests > 0
        ? <p>{t("effect.text", { requests: short(it.requests), span: span(it.to - it.from), same: short(it.same) })}{it.recorded < it.requests && ` ${t("effect.sampled", { recorded: short(it.recorded) })}`}</p>
        : <p>{it.records === "elsewhere" ? t("effect.elsewhere") : t("effect.none", { span: span(it.to - it.from) })}</p>}
      {it.groups.map((group, i) => <Told key={i} group={group} />)}
      {left.filter(([count]) => count > 0).map(([, text]) => <p key={text} class="muted small">{text}</p>)}
      {it.requests > 0 && <p class="muted small">{t("effect.limits")}</p>}
    </section>
  );
}

function Told({ group }: { group: EffectGroup }): JSX.Element {
  const { by } = group;
  const from = group.from.workload || t("effect.outside");
  return (
    <div class="effect-group" data-kind={group.kind}>
      <p><span class="strong">{from} → {hostOf(group.to)}</span>: {sentence(group)}{group.share < 0.995 && ` ${t("effect.share", { share: percent(group.share) })}`}</p>
      {group.changes.filter((c) => c.step !== "route" && c.step !== "cluster" || group.kind === "altered").map((c) => <p key={c.step} class="small mono wrap">{c.step}: {said(c.before) || "–"} → {said(c.after) || "–"}</p>)}
      {by && <p class="small"><a href={href({ page: "config", path: [by.namespace || "-", by.kind, by.name], extra: {} })}>{by.kind} {by.namespace && `${by.namespace}/`}{by.name}</a>{by.field && <span class="mono"> {by.field}</span>}{by.line > 0 && `, ${t("findings.line", { line: by.line })}`}</p>}
      {group.because && group.kind !== "unknown" && <p class="small muted wrap">{said(group.because)}</p>}
      {group.examples.map((e) => <p key={e.traceId} class="small"><a class="mono" href={href({ page: "traces", path: [e.traceId], extra: {} })}>{e.method} {e.path}</a> <span class="muted">{e.code || "–"}</span></p>)}
    </div>
  );
}
