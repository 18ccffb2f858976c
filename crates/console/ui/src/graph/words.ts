// What is written beside edges, and rates as people read them, in the language of the page.
import type { Edge, Idle, Node, Tally } from "../api/types.ts";
import { t } from "../i18n/index.ts";
import { bytes, duration, percent, short, span } from "../state/format.ts";
import { moment } from "../state/store.ts";
import type { LabelName, TimeStat } from "../state/url.ts";
import { errorShare, nodeName, nodeSubtitle } from "./model.ts";

export function rate(edge: Pick<Edge, "unit">, tally: Tally): string {
  return edge.unit === "bytes" ? `${bytes(tally.total)}/s` : `${short(tally.total)} ${edge.unit === "messages" ? t("panel.unit.messages") : t("panel.unit.requests")}`;
}

/** Lines of an edge's label. `outgoing`: what its source sends in all, of the same protocol. */
export function edgeLines(edge: Edge, labels: readonly LabelName[], stat: TimeStat, outgoing: number): string[] {
  if (edge.rates.total <= 0) return [];
  const first = labels.includes("rate") ? [rate(edge, edge.rates)] : [];
  const time = labels.includes("time") && edge.responseTimes ? [duration(edge.responseTimes[stat])] : [];
  const second: string[] = [];
  if (labels.includes("share") && outgoing > 0 && edge.rates.total / outgoing < 0.9995) second.push(percent(edge.rates.total / outgoing));
  if (labels.includes("throughput") && edge.throughput) second.push(`${bytes(edge.throughput.response)}/s`);
  const share = errorShare(edge.rates);
  const third = labels.includes("errors") || (labels.includes("rate") && share > 0) ? [`${percent(share)} ${t("common.errors").toLowerCase()}`] : [];
  return [first, time, second, edge.protocol === "tcp" ? [] : third].filter((l) => l.length).map((l) => l.join(" · "));
}

/** Why there is no traffic, in a word or two. */
export function idleWord(idle: Idle): string {
  return idle.why === "notInWindow" ? t("idle.word.notInWindow", { span: span(Math.max(0, moment.value - idle.lastSeen)) }) : t(`idle.word.${idle.why}`);
}

/** The same in a sentence. */
export function whyIdle(idle: Idle): string {
  return idle.why === "notInWindow" ? t("idle.notInWindow", { ago: t("common.ago", { span: span(Math.max(0, moment.value - idle.lastSeen)) }) }) : t(`idle.${idle.why}`);
}

/** A node in one line: `reviews v2`. */
export function fullName(node: Node, type: string): string {
  const sub = nodeSubtitle(node, type as never);
  return sub ? `${nodeName(node)} ${sub}` : nodeName(node);
}
