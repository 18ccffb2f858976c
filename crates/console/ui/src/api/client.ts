// Asks the console process. Everything lies below one prefix, on the host that the page came from.
import { signal } from "@preact/signals";
import { t } from "../i18n/index.ts";
import type {
  Access, AppItem, ApplyAnswer, ApplyRequest, Change, ConfigItem, DeleteAnswer, DeleteRequest, ExplainRequest, Explanation, Graph, Info, LogLine, LoginRequest, Mesh, ApiError,
  ObjectDetail, ObjectRef, ServiceItem, ValidateAnswer, WorkloadItem,
} from "./types.ts";

export const PREFIX = "/console/api";

/** The server does not know us: a session has ended, or none was begun. */
export const stranger = signal(false);

/** What the server said was wrong, or that it did not answer. */
export class Failed extends Error {
  constructor(readonly status: number, readonly body: ApiError) {
    super(body.message);
  }
}

type Params = Record<string, string | number | boolean | null | undefined>;

export function url(path: string, params: Params = {}): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) if (value !== null && value !== undefined && value !== "") query.set(name, String(value));
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

/** How many answers are waited for. */
export const waiting = (): number => open;
let open = 0;

export async function json<T>(address: string, init?: RequestInit): Promise<T> {
  open++;
  try { return await ask<T>(address, init); } finally { open--; }
}

async function ask<T>(address: string, init?: RequestInit): Promise<T> {
  let answer: Response;
  try {
    answer = await fetch(address, { credentials: "same-origin", ...init });
  } catch (error) {
    if ((error as Error).name === "AbortError") throw error;
    throw new Failed(0, { code: "unavailable", message: t("failed.noAnswer"), hint: t("failed.noAnswer.hint") });
  }
  if (answer.ok) return (await answer.json()) as T;
  const body = (await answer.json().catch(() => null)) as ApiError | null;
  if (answer.status === 401 && !address.endsWith("/login")) stranger.value = true;
  throw new Failed(answer.status, body?.message ? body : { code: "unavailable", message: `${answer.status} ${answer.statusText}`, hint: "" });
}

const get = <T>(path: string, params?: Params, signal?: AbortSignal): Promise<T> => json<T>(url(PREFIX + path, params), { signal });
const post = <T>(path: string, body: unknown): Promise<T> =>
  // The header makes a request from another site need the server's leave, which it does not give.
  json<T>(PREFIX + path, { method: "POST", headers: { "content-type": "application/json", "x-requested-with": "varka-console" }, body: JSON.stringify(body) });

export type GraphParams = { graphType: string; namespaces: string; duration: number; injectServiceNodes: boolean; includeIdleEdges: boolean; rateHttp?: string; rateGrpc?: string; rateTcp?: string };
export type At = number | null;

export const api = {
  info: () => get<Info>("/info"),
  login: (request: LoginRequest) => post<Access>("/login", request),
  logout: () => post<Access>("/logout", {}),
  graph: (params: GraphParams & { at: At }, signal?: AbortSignal) => get<Graph>("/graph", params, signal),
  changes: (from: number, to: number, signal?: AbortSignal) => get<Change[]>("/changes", { from, to }, signal),
  workloads: (namespaces: string, at: At, duration?: number) => get<WorkloadItem[]>("/workloads", { namespaces, at, duration }),
  services: (namespaces: string, at: At, duration?: number) => get<ServiceItem[]>("/services", { namespaces, at, duration }),
  applications: (namespaces: string, at: At, duration?: number) => get<AppItem[]>("/applications", { namespaces, at, duration }),
  config: (namespaces: string, at: At) => get<ConfigItem[]>("/config", { namespaces, at }),
  object: (ref: Omit<ObjectRef, "version" | "group"> & { group?: string }, at: At) =>
    get<ObjectDetail>(`/config/${encodeURIComponent(ref.namespace || "-")}/${encodeURIComponent(ref.kind)}/${encodeURIComponent(ref.name)}`, { at }),
  validate: (yaml: string) => post<ValidateAnswer>("/validate", { yaml }),
  apply: (request: ApplyRequest) => post<ApplyAnswer>("/apply", request),
  delete: (request: DeleteRequest) => post<DeleteAnswer>("/delete", request),
  logs: (params: { namespace: string; workload: string; containers?: string; to: At; limit: number }, signal?: AbortSignal) => get<LogLine[]>("/logs", params, signal),
  explain: (request: ExplainRequest) => post<Explanation>("/explain", request),
  mesh: (at: At) => get<Mesh>("/mesh", { at }),
};
