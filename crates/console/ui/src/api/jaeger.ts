// Traces come by Jaeger's own interface.
import { json, url } from "./client.ts";

export interface Tag { key: string; type: string; value: string | number | boolean }
export interface Span {
  traceID: string; spanID: string; operationName: string; startTime: number; duration: number; processID: string;
  references: { refType: "CHILD_OF" | "FOLLOWS_FROM"; traceID: string; spanID: string }[];
  tags: Tag[]; logs: { timestamp: number; fields: Tag[] }[]; warnings: string[] | null;
}
export interface Trace { traceID: string; spans: Span[]; processes: Record<string, { serviceName: string; tags: Tag[] }>;
  /** What is to be said of it: spans that are left out, for one. */
  warnings?: string[] | null }
interface Envelope<T> { data: T | null; errors: { code: number; msg: string }[] | null }

const get = async <T>(path: string, params: Record<string, string | number | undefined>, signal?: AbortSignal): Promise<T> =>
  (await json<Envelope<T>>(url(path, params), { signal })).data as T;

export interface Search { service: string; operation?: string; start: number; end: number; limit: number; minDuration?: string; maxDuration?: string; tags?: string }

export const jaeger = {
  services: (signal?: AbortSignal) => get<string[]>("/api/services", {}, signal),
  operations: (service: string, signal?: AbortSignal) => get<string[]>(`/api/services/${encodeURIComponent(service)}/operations`, {}, signal),
  search: (s: Search, signal?: AbortSignal) => get<Trace[]>("/api/traces", { ...s, start: s.start * 1e6, end: s.end * 1e6 }, signal),
  trace: async (id: string, signal?: AbortSignal): Promise<Trace | null> => (await get<Trace[]>(`/api/traces/${encodeURIComponent(id)}`, {}, signal))?.[0] ?? null,
};
