// The whole state of the page is its address: what is copied and sent shows the same to whoever opens it. Pure.
import type { GraphType } from "../api/types.ts";

export type PageName = "overview" | "graph" | "applications" | "workloads" | "services" | "config" | "logs" | "traces" | "explain" | "mesh";

export const pageNames: readonly PageName[] = ["overview", "graph", "applications", "workloads", "services", "config", "logs", "traces", "explain", "mesh"];

export type LabelName = "rate" | "errors" | "time" | "throughput" | "share";
export type TimeStat = "avg" | "p50" | "p95" | "p99";

/** Which of each protocol the graph is drawn from; messages and bytes that are sent are the client's. */
export const rateNames = {
  http: ["none", "requests"],
  grpc: ["none", "requests", "sent", "received", "total"],
  tcp: ["none", "sent", "received", "total"],
} as const;
export type Rates = { [P in keyof typeof rateNames]: (typeof rateNames)[P][number] };

export interface View {
  page: PageName;
  /** What the page is about, below its list: `blog-system/web`, a trace, a kind and name. */
  path: string[];
  /** Empty: all. */
  namespaces: string[];
  /** Seconds over which rates are taken. */
  window: number;
  /** Seconds that the time slider spans. */
  span: number;
  /** Moment that is looked at, in seconds; null: live. */
  at: number | null;
  /** Replay: when it stops, in seconds; null: it does not run. How much it shows, and how many seconds in one. */
  play: number | null;
  replay: number;
  speed: number;
  type: GraphType;
  rates: Rates;
  labels: LabelName[];
  stat: TimeStat;
  find: string;
  hide: string;
  /** What is selected in the graph: key of a node or id of an edge. */
  selected: string;
  show: Record<ShowName, boolean>;
  /** Namespaces that are opened in a large mesh. */
  opened: string[];
  as: "graph" | "table";
  tab: string;
  /** Anything that only one page knows. */
  extra: Record<string, string>;
}

export type ShowName = "services" | "idle" | "animation" | "security" | "badges" | "clusters" | "boxes" | "apps" | "all";

/** What the wizards of a service do. */
export const wizardKinds = ["shift", "fault", "timeout", "mtls", "authz"] as const;

export const windows = [60, 300, 600, 1800, 3600, 10800] as const;
export const spans = [3600, 21600, 86400, 604800] as const;

const shown: Record<ShowName, boolean> = { services: true, idle: false, animation: true, security: true, badges: true, clusters: true, boxes: true, apps: true, all: false };
const graphTypes: readonly GraphType[] = ["versionedApp", "app", "workload", "service"];
const labelNames: readonly LabelName[] = ["rate", "errors", "time", "throughput", "share"];

export const defaults = (): View => ({
  page: "overview", path: [], namespaces: [], window: 600, span: 3600, at: null, play: null, replay: 300, speed: 10, type: "versionedApp",
  rates: { http: "requests", grpc: "requests", tcp: "sent" },
  labels: ["rate", "time"], stat: "p95", find: "", hide: "", selected: "", show: { ...shown }, opened: [], as: "graph",
  tab: "", extra: {},
});

const known = new Set(["ns", "window", "span", "at", "play", "replay", "speed", "type", "rates", "labels", "stat", "find", "hide", "sel", "show", "open", "as", "tab"]);

/** Reads `/console/PAGE/…?…`; what cannot be read is as if it was not there. */
export function parse(pathname: string, search: string): View {
  const view = defaults();
  const parts = pathname.replace(/^\/console\/?/, "").split("/").filter(Boolean).map(decode);
  if (pageNames.includes(parts[0] as PageName)) {
    view.page = parts[0] as PageName;
    view.path = parts.slice(1);
  }
  const query = new URLSearchParams(search);
  const list = (name: string): string[] => (query.get(name) ?? "").split(",").filter(Boolean);
  const one = <T extends number>(name: string, of: readonly T[], otherwise: T): T => of.find((v) => v === Number(query.get(name))) ?? otherwise;
  view.namespaces = list("ns");
  view.window = one<number>("window", windows, view.window);
  view.span = one<number>("span", spans, view.span);
  const at = Number(query.get("at"));
  view.at = query.has("at") && Number.isFinite(at) && at > 0 ? Math.round(at) : null;
  const play = Number(query.get("play"));
  view.play = view.at !== null && Number.isFinite(play) && play > view.at ? Math.round(play) : null;
  view.replay = one<number>("replay", [60, 300, 600, 1800], view.replay);
  view.speed = one<number>("speed", [1, 10, 30, 60], view.speed);
  view.type = graphTypes.find((t) => t === query.get("type")) ?? view.type;
  if (query.has("rates")) view.rates = ratesOf(list("rates"));
  if (query.has("labels")) view.labels = list("labels").filter((l): l is LabelName => labelNames.includes(l as LabelName));
  view.stat = (["avg", "p50", "p95", "p99"] as const).find((s) => s === query.get("stat")) ?? view.stat;
  view.find = query.get("find") ?? "";
  view.hide = query.get("hide") ?? "";
  view.selected = query.get("sel") ?? "";
  for (const word of list("show")) {
    const name = word.replace(/^-/, "") as ShowName;
    if (name in shown) view.show[name] = !word.startsWith("-");
  }
  view.opened = list("open");
  view.as = query.get("as") === "table" ? "table" : "graph";
  view.tab = query.get("tab") ?? "";
  for (const [name, value] of query) if (!known.has(name)) view.extra[name] = value;
  return view;
}

/** `http-requests,tcp-sent`: a protocol that is not named is left out. */
function ratesOf(words: string[]): Rates {
  const one = <T extends string>(protocol: string, of: readonly T[]): T => of.find((name) => words.includes(`${protocol}-${name}`)) ?? of[0];
  return { http: one("http", rateNames.http), grpc: one("grpc", rateNames.grpc), tcp: one("tcp", rateNames.tcp) };
}

/** None at all is said, too. */
const ratesText = (rates: Rates): string =>
  (Object.keys(rateNames) as (keyof Rates)[]).filter((p) => rates[p] !== "none").map((p) => `${p}-${rates[p]}`).join(",") || "none";

function decode(part: string): string {
  try { return decodeURIComponent(part); } catch { return part; }
}

/** The address of a view; what is as by default is left out. */
export function format(view: View): string {
  const query = new URLSearchParams();
  const base = defaults();
  const put = (name: string, value: string, plain: string): void => { if (value !== plain) query.set(name, value); };
  put("ns", view.namespaces.join(","), "");
  put("window", String(view.window), String(base.window));
  put("span", String(view.span), String(base.span));
  put("at", view.at === null ? "" : String(view.at), "");
  put("play", view.at === null || view.play === null ? "" : String(view.play), "");
  put("replay", String(view.replay), String(base.replay));
  put("speed", String(view.speed), String(base.speed));
  put("type", view.type, base.type);
  put("rates", ratesText(view.rates), ratesText(base.rates));
  put("labels", view.labels.join(","), base.labels.join(","));
  put("stat", view.stat, base.stat);
  put("find", view.find, "");
  put("hide", view.hide, "");
  put("sel", view.selected, "");
  put("show", (Object.keys(shown) as ShowName[]).filter((n) => view.show[n] !== shown[n]).map((n) => (view.show[n] ? n : `-${n}`)).join(","), "");
  put("open", view.opened.join(","), "");
  put("as", view.as, "graph");
  put("tab", view.tab, "");
  for (const name of Object.keys(view.extra).sort()) put(name, view.extra[name], "");
  const text = query.toString().replaceAll("%2C", ",").replaceAll("%2F", "/").replaceAll("%3A", ":").replaceAll("%3E", ">");
  const path = ["/console", view.page, ...view.path.map(encodeURIComponent)].join("/");
  return text ? `${path}?${text}` : path;
}
