// Charts ask Prometheus' own interface, so that what a chart shows can be asked with any tool.
import { json, url } from "./client.ts";
import type { Edge, Node } from "./types.ts";

export interface Series { name: string; values: (number | null)[] }
export interface Range { times: number[]; series: Series[] }

interface Answer { status: string; data: { result: { metric: Record<string, string>; values: [number, string][] }[] } }

/** Evenly spaced, about as many points as a chart is wide. */
export function stepOf(seconds: number): number {
  return [1, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600].find((s) => seconds / s <= 180) ?? 7200;
}

export async function range(queries: { name: string; query: string }[], start: number, end: number, signal?: AbortSignal): Promise<Range> {
  const step = stepOf(end - start);
  const [from, to] = [Math.floor(start / step) * step, Math.floor(end / step) * step];
  const times: number[] = [];
  for (let at = from; at <= to; at += step) times.push(at);
  const answers = await Promise.all(queries.map((q) => json<Answer>(url("/api/v1/query_range", { query: q.query, start: from, end: to, step }), { signal })));
  const series = answers.map((answer, i) => {
    const byTime = new Map(answer.data.result[0]?.values.map(([at, v]) => [Math.round(at), Number(v)]) ?? []);
    return { name: queries[i].name, values: times.map((at) => { const v = byTime.get(at); return v === undefined || Number.isNaN(v) ? null : v; }) };
  });
  return { times, series };
}

const quote = (text: string): string => `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
const label = (name: string, value: string): string => `${name}=${quote(value)}`;

/** Labels of one end of the traffic. */
export function endLabels(node: Node, end: "source" | "destination"): string[] {
  if (node.kind === "service") {
    return end === "destination" ? [label("destination_service_name", node.service), label("destination_service_namespace", node.namespace)] : [];
  }
  const labels: string[] = [];
  if (node.namespace && node.kind !== "unknown") labels.push(label(`${end}_workload_namespace`, node.namespace));
  if (node.kind === "aggregate") return labels;
  if (node.workload && node.kind === "workload") labels.push(label(`${end}_workload`, node.workload));
  else if (node.app) {
    labels.push(label(`${end}_canonical_service`, node.app));
    if (node.version) labels.push(label(`${end}_canonical_revision`, node.version));
  }
  return labels;
}

export const selectorOf = {
  node: (node: Node): string => endLabels(node, "destination").join(","),
  edge: (_edge: Edge, source: Node, target: Node): string => [...endLabels(source, "source"), ...endLabels(target, "destination")].join(","),
};

/** Both sides report a request: the server's report is taken where there is one. */
const one = (selector: string, reporter: string): string => `{${[`reporter=${quote(reporter)}`, selector].filter(Boolean).join(",")}}`;

/** Of what both sides count, the larger: a request that its server never saw, such as one that was refused before it, is told by its client alone. */
const either = (selector: string, window: string): string => `max(sum(rate(istio_requests_total{${selector}}[${window}])) by (reporter))`;

/** `bad`: codes that count as errors. */
export function rateQueries(selector: string, window: string, bad = "0|4..|5.."): { name: string; query: string }[] {
  return [
    { name: "total", query: either(selector, window) },
    { name: "errors", query: either([selector, `response_code=~"${bad}"`].filter(Boolean).join(","), window) },
  ];
}

export function timeQueries(selector: string, reporter: string, window: string): { name: string; query: string }[] {
  return [50, 95, 99].map((q) => ({
    name: `p${q}`,
    query: `histogram_quantile(${q / 100}, sum(rate(istio_request_duration_milliseconds_bucket${one(selector, reporter)}[${window}])) by (le))`,
  }));
}

export function byteQueries(selector: string, reporter: string, window: string): { name: string; query: string }[] {
  return [
    { name: "received", query: `sum(rate(istio_tcp_received_bytes_total${one(selector, reporter)}[${window}]))` },
    { name: "sent", query: `sum(rate(istio_tcp_sent_bytes_total${one(selector, reporter)}[${window}]))` },
  ];
}

/** Share of requests that came over mTLS, from 0 to 1; NaN: there were none. */
export async function mtlsShare(end: number, window: number, signal?: AbortSignal): Promise<number> {
  const of = (labels: string): string => `sum(rate(istio_requests_total{reporter="destination"${labels}}[${window}s]))`;
  const { series } = await range([{ name: "all", query: of("") }, { name: "mtls", query: of(',connection_security_policy="mutual_tls"') }], end - 60, end, signal);
  const last = (i: number): number => series[i].values.findLast((v) => v !== null) ?? 0;
  return last(1) / last(0);
}
