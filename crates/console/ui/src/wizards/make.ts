// What the wizards make: from a few choices to the objects that do it. Pure; what they mean for traffic is said beside them.
import type { Plain } from "./yaml.ts";

export interface Target {
  namespace: string;
  service: string;
  selector: Record<string, string>;
  /** Objects that are there already for this service: they are changed, not doubled, and what is not meant stays as it is. */
  virtualService?: There;
  destinationRule?: There;
}

export interface There { name: string; spec: { [key: string]: Plain | undefined } }
type Fields = { [key: string]: Plain | undefined };

export interface Made { objects: Plain[]; warnings: Warning[] }
export type Warning = "weights" | "emptySubset" | "equalSubsets" | "tryLongerThanTimeout" | "noIdentity" | "portsNeedSelector" | "nothingSeen" | "strictPlainCallers" | "noSubsets";

const networking = "networking.istio.io/v1";
const security = "security.istio.io/v1";
const head = (kind: string, api: string, namespace: string, name: string): Record<string, Plain> => ({ apiVersion: api, kind, metadata: { name, namespace } });

/** Its routes changed one by one; where there are none, one that leads to the service. */
function virtualService(t: Target, change: (route: Fields, i: number, all: Fields[]) => Fields): Plain {
  const there = t.virtualService;
  const routes = Array.isArray(there?.spec.http) && there.spec.http.length ? (there.spec.http as Fields[]) : [{ route: [{ destination: { host: t.service } }] }];
  return { ...head("VirtualService", networking, t.namespace, there?.name ?? t.service), spec: { ...(there?.spec ?? { hosts: [t.service] }), http: routes.map(change) } };
}

/** The route that takes what no other took: the last without a condition. */
const isDefault = (_: Fields, i: number, all: Fields[]): boolean => i === all.findLastIndex((r) => r.match === undefined);

const same = (a: Plain | undefined, b: Plain | undefined): boolean => {
  const sorted = (v: Plain | undefined): string => JSON.stringify(Object.entries((v ?? {}) as Fields).sort());
  return sorted(a) === sorted(b);
};

export interface Subset { name: string; labels: Record<string, string>; weight: number }

export function trafficShifting(t: Target, subsets: Subset[]): Made {
  const warnings: Warning[] = [];
  if (subsets.length === 0) return { objects: [], warnings: ["noSubsets"] };
  if (subsets.reduce((s, x) => s + x.weight, 0) !== 100) warnings.push("weights");
  if (subsets.some((s) => Object.keys(s.labels).length === 0)) warnings.push("emptySubset");
  const sets = subsets.map((s) => JSON.stringify(Object.entries(s.labels).sort()));
  if (new Set(sets).size < sets.length) warnings.push("equalSubsets");
  const there = t.destinationRule;
  const known = (Array.isArray(there?.spec.subsets) ? there.spec.subsets : []) as Fields[];
  // A subset that chooses the same pods is used under the name that it has; one of the same name that chooses others gives way.
  const named = subsets.map((s) => ({ ...s, name: String(known.find((k) => same(k.labels, s.labels) && Object.keys(s.labels).length > 0)?.name ?? s.name) }));
  const kept = known.filter((k) => !named.some((s) => s.name === k.name && !same(k.labels, s.labels)));
  const added = named.filter((s) => !kept.some((k) => k.name === s.name)).map((s): Fields => ({ name: s.name, labels: s.labels }));
  const vs = virtualService(t, (route, i, all) => (isDefault(route, i, all) ? { ...route, route: named.map((s) => ({ destination: { host: t.service, subset: s.name }, weight: s.weight })) } : route));
  return { warnings, objects: [{ ...head("DestinationRule", networking, t.namespace, there?.name ?? t.service), spec: { ...(there?.spec ?? { host: t.service }), subsets: [...kept, ...added] } }, vs] };
}

/** The weight that a choice of pods has now; null: none is set. */
export function weightNow(t: Target, labels: Record<string, string>): number | null {
  const subsets = (Array.isArray(t.destinationRule?.spec.subsets) ? t.destinationRule.spec.subsets : []) as Fields[];
  const name = subsets.find((s) => same(s.labels, labels))?.name;
  const routes = (Array.isArray(t.virtualService?.spec.http) ? t.virtualService.spec.http : []) as Fields[];
  const route = routes.find(isDefault)?.route;
  const to = (Array.isArray(route) ? (route as Fields[]) : []).find((r) => name !== undefined && (r.destination as Fields | undefined)?.subset === name);
  return to ? Number(to.weight ?? 100) : null;
}

export interface Fault { delayPercent: number; delayMs: number; abortPercent: number; abortCode: number }

export function faultInjection(t: Target, f: Fault): Made {
  const fault: Record<string, Plain> = {};
  if (f.delayPercent > 0 && f.delayMs > 0) fault.delay = { percentage: { value: f.delayPercent }, fixedDelay: milliseconds(f.delayMs) };
  if (f.abortPercent > 0) fault.abort = { percentage: { value: f.abortPercent }, httpStatus: f.abortCode };
  return { warnings: [], objects: [virtualService(t, ({ fault: _, ...route }) => (Object.keys(fault).length ? { ...route, fault } : route))] };
}

export interface Patience { timeoutMs: number; attempts: number; perTryMs: number; retryOn: string }

export function timeouts(t: Target, p: Patience): Made {
  const warnings: Warning[] = [];
  if (p.attempts > 0 && p.timeoutMs > 0 && p.perTryMs * (p.attempts + 1) > p.timeoutMs) warnings.push("tryLongerThanTimeout");
  const retries = p.attempts > 0 ? { attempts: p.attempts, ...(p.perTryMs > 0 ? { perTryTimeout: milliseconds(p.perTryMs) } : {}), retryOn: p.retryOn } : { attempts: 0 };
  return { warnings, objects: [virtualService(t, ({ timeout: _, retries: __, ...route }) => ({ ...route, ...(p.timeoutMs > 0 ? { timeout: milliseconds(p.timeoutMs) } : {}), retries }))] };
}

export interface Mutual { mode: "STRICT" | "PERMISSIVE" | "DISABLE"; wholeNamespace: boolean; plainPorts: number[]; plainCallers: boolean }

/** A mode for the namespace, or for the pods of the service; only there can ports be let out of it. */
export function mutualTls(t: Target, m: Mutual): Made {
  const warnings: Warning[] = [];
  if (m.wholeNamespace && m.plainPorts.length > 0) warnings.push("portsNeedSelector");
  if (m.mode === "STRICT" && m.plainCallers) warnings.push("strictPlainCallers");
  const spec: Record<string, Plain> = m.wholeNamespace ? {} : { selector: { matchLabels: t.selector } };
  spec.mtls = { mode: m.mode };
  if (!m.wholeNamespace && m.plainPorts.length > 0) spec.portLevelMtls = Object.fromEntries(m.plainPorts.map((p) => [String(p), { mode: "PERMISSIVE" }]));
  return { warnings, objects: [{ ...head("PeerAuthentication", security, t.namespace, m.wholeNamespace ? "default" : t.service), spec }] };
}

export interface Seen { principal: string | null; name: string }

/** Allows exactly who was seen calling. Who has no identity cannot be named, and is locked out. */
export function authorization(t: Target, seen: Seen[], ports: number[]): Made {
  const principals = [...new Set(seen.map((s) => s.principal).filter((p) => p !== null))].map((p) => p.replace(/^spiffe:\/\//, "")).sort();
  const warnings: Warning[] = [];
  if (seen.length === 0) warnings.push("nothingSeen");
  if (seen.some((s) => s.principal === null)) warnings.push("noIdentity");
  const rules: Plain[] = principals.length ? [{ from: [{ source: { principals } }], ...(ports.length ? { to: [{ operation: { ports: ports.map(String) } }] } : {}) }] : [];
  // An ALLOW policy without rules allows nobody: that is what it says, and the warning says it too.
  return { warnings, objects: [{ ...head("AuthorizationPolicy", security, t.namespace, t.service), spec: { selector: { matchLabels: t.selector }, action: "ALLOW", ...(rules.length ? { rules } : {}) } }] };
}

const milliseconds = (ms: number): string => (ms % 1000 === 0 ? `${ms / 1000}s` : `${ms}ms`);
