// Wizards of a service: a form, the YAML that it makes as one changes it, what to beware of, then the difference and apply.
import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { api } from "../api/client.ts";
import type { ServiceItem } from "../api/types.ts";
import { Apply } from "../editor/apply.tsx";
import { fromGraph, nodeName } from "../graph/model.ts";
import { type Key, t } from "../i18n/index.ts";
import { Problem, Waiting } from "../parts/states.tsx";
import { useLoad } from "../state/load.ts";
import { go, view } from "../state/store.ts";
import { wizardKinds } from "../state/url.ts";
import { authorization, faultInjection, type Made, mutualTls, type Seen, type Subset, type Target, type There, timeouts, trafficShifting, weightNow } from "./make.ts";
import { documents } from "./yaml.ts";

type Kind = (typeof wizardKinds)[number];

export function Wizards({ service }: { service: ServiceItem }): JSX.Element {
  const kind = wizardKinds.find((k) => k === view.value.extra.wizard) ?? "shift";
  const there = useLoad(`there/${service.namespace}/${service.name}/${service.config.map((c) => c.name).join()}`, () => Promise.all([existing(service, "VirtualService"), existing(service, "DestinationRule")]));
  const target = useMemo((): Target => ({ namespace: service.namespace, service: service.name, selector: service.selector, virtualService: there.data?.[0] ?? undefined, destinationRule: there.data?.[1] ?? undefined }), [there.data, service.name]);
  const [made, set] = useState<Made>({ objects: [], warnings: [] });
  const replaces = (kind === "shift" || kind === "fault" || kind === "timeout") && target.virtualService?.name;
  if (there.error && !there.data) return <Problem error={there.error} again={there.again} />;
  if (!there.data) return <Waiting />;
  return (
    <div class="wizard">
      <div class="segmented" role="group" aria-label={t("panel.wizards")}>
        {wizardKinds.map((k) => <button key={k} type="button" aria-pressed={k === kind} onClick={() => go({ extra: { wizard: k } })}>{t(`wizard.${k}`)}</button>)}
      </div>
      <div class="split">
        <section class="card">
          <h2>{t(`wizard.${kind}`)}</h2>
          <p class="muted">{t(`wizard.${kind}.lead`)}</p>
          <Form key={kind} kind={kind} target={target} service={service} onMade={set} />
          {replaces && <p class="callout quiet">{t("wizard.replaces", { name: replaces })}</p>}
          {made.warnings.map((w) => <p key={w} class="callout">{t(`wizard.warning.${w}` as Extract<Key, `wizard.warning.${string}`>)}</p>)}
        </section>
        <section class="card"><Apply yaml={documents(made.objects)} /></section>
      </div>
    </div>
  );
}

/** What is there of a kind for a service, to be changed and not replaced. Reading YAML is loaded with the first wizard. */
async function existing(service: ServiceItem, kind: string): Promise<There | null> {
  const found = service.config.find((c) => c.kind === kind);
  if (!found) return null;
  const [{ parse }, { yaml }] = await Promise.all([import("yaml"), api.object(found, null)]);
  const read = parse(yaml) as { spec?: There["spec"] } | null;
  return { name: found.name, spec: read?.spec ?? {} };
}

function Form({ kind, target, service, onMade }: { kind: Kind; target: Target; service: ServiceItem; onMade: (m: Made) => void }): JSX.Element {
  switch (kind) {
    case "shift": return <Shift target={target} onMade={onMade} />;
    case "fault": return <Fault target={target} onMade={onMade} />;
    case "timeout": return <Timeout target={target} onMade={onMade} />;
    default: return <Policy kind={kind} target={target} service={service} onMade={onMade} />;
  }
}

interface Props { target: Target; onMade: (m: Made) => void }

function Num({ label, value, onChange, max = 1e6, unit = "" }: { label: string; value: number; onChange: (n: number) => void; max?: number; unit?: string }): JSX.Element {
  return <label class="field">{label}<span><input type="number" min={0} max={max} value={value} onInput={(e) => onChange(Math.max(0, Math.min(max, Number(e.currentTarget.value) || 0)))} /> {unit}</span></label>;
}

function Shift({ target, onMade }: Props): JSX.Element {
  const { data } = useLoad(`versions/${target.namespace}`, () => api.workloads(target.namespace, null));
  const versions = (data ?? []).filter((w) => w.version && Object.entries(target.selector).every(([k, v]) => (k === "app" ? w.app === v : true)));
  const [weights, set] = useState<Record<string, number>>({});
  const names = [...new Set(versions.map((w) => w.version))];
  // As it is now; what is not said is what is left, and all of it goes to the first where nothing is said.
  const current = names.map((v) => weightNow(target, { version: v }));
  const left = 100 - current.reduce((s: number, w) => s + (w ?? 0), 0);
  const first = current.findIndex((w) => w === null);
  const subsets: Subset[] = names.map((v, i) => ({ name: v, labels: { version: v }, weight: weights[v] ?? current[i] ?? (i === first ? left : 0) }));
  const key = JSON.stringify(subsets);
  useEffect(() => onMade(trafficShifting(target, subsets)), [key, target]);
  /** Two shares are always the whole: one follows the other. */
  const put = (name: string, weight: number): void => {
    const next = Object.fromEntries(subsets.map((s) => [s.name, s.weight]));
    next[name] = weight;
    if (names.length === 2) next[names.find((n) => n !== name)!] = 100 - weight;
    set(next);
  };
  return (
    <div class="form">
      {subsets.map((s) => (
        <label key={s.name} class="slider"><span class="strong">{s.name}</span><input type="range" min={0} max={100} value={s.weight} aria-label={t("wizard.weightOf", { name: s.name })} onInput={(e) => put(s.name, Number(e.currentTarget.value))} /><output>{s.weight} %</output></label>
      ))}
    </div>
  );
}

function Fault({ target, onMade }: Props): JSX.Element {
  const [f, set] = useState({ delayPercent: 10, delayMs: 2000, abortPercent: 0, abortCode: 503 });
  useEffect(() => onMade(faultInjection(target, f)), [f, target]);
  return (
    <div class="form two">
      <Num label={t("wizard.delayPercent")} value={f.delayPercent} max={100} unit="%" onChange={(n) => set({ ...f, delayPercent: n })} />
      <Num label={t("wizard.delayMs")} value={f.delayMs} unit="ms" onChange={(n) => set({ ...f, delayMs: n })} />
      <Num label={t("wizard.abortPercent")} value={f.abortPercent} max={100} unit="%" onChange={(n) => set({ ...f, abortPercent: n })} />
      <Num label={t("wizard.abortCode")} value={f.abortCode} max={599} onChange={(n) => set({ ...f, abortCode: n })} />
    </div>
  );
}

function Timeout({ target, onMade }: Props): JSX.Element {
  const [p, set] = useState({ timeoutMs: 10_000, attempts: 2, perTryMs: 3000, retryOn: "5xx,reset,connect-failure,refused-stream" });
  useEffect(() => onMade(timeouts(target, p)), [p, target]);
  return (
    <div class="form two">
      <Num label={t("wizard.timeoutField")} value={p.timeoutMs} unit="ms" onChange={(n) => set({ ...p, timeoutMs: n })} />
      <Num label={t("wizard.attempts")} value={p.attempts} max={10} onChange={(n) => set({ ...p, attempts: n })} />
      <Num label={t("wizard.perTry")} value={p.perTryMs} unit="ms" onChange={(n) => set({ ...p, perTryMs: n })} />
      <label class="field">{t("wizard.retryOn")}<input type="text" value={p.retryOn} onInput={(e) => set({ ...p, retryOn: e.currentTarget.value })} /></label>
    </div>
  );
}

/** mTLS and authorization both look at who called in the window. */
function Policy({ kind, target, service, onMade }: Props & { kind: "mtls" | "authz"; service: ServiceItem }): JSX.Element {
  const { window, at } = view.value;
  const { data } = useLoad(`seen/${target.namespace}/${target.service}/${window}/${at}`, (signal) =>
    api.graph({ graphType: "workload", namespaces: target.namespace, duration: window, injectServiceNodes: true, includeIdleEdges: false, at }, signal));
  const seen: Seen[] = [];
  if (data) {
    const model = fromGraph(data);
    const own = [...model.nodes.values()].find((n) => n.kind === "service" && n.namespace === target.namespace && n.service === target.service);
    for (const e of model.edges.values()) if (own && e.target === own.key) seen.push({ name: nodeName(model.nodes.get(e.source)!), principal: (e.security?.mtls ?? 0) > 0 ? e.security!.sourcePrincipal : null });
  }
  const [m, set] = useState({ mode: "STRICT" as "STRICT" | "PERMISSIVE" | "DISABLE", wholeNamespace: false, exempt: false });
  const ports = service.ports.map((p) => p.number);
  const key = JSON.stringify([seen, m, kind]);
  useEffect(() => onMade(kind === "authz"
    ? authorization(target, seen, ports)
    : mutualTls(target, { mode: m.mode, wholeNamespace: m.wholeNamespace, plainPorts: m.exempt ? ports : [], plainCallers: seen.some((s) => s.principal === null) && !m.exempt })), [key]);
  return (
    <div class="form">
      {kind === "mtls" && (
        <>
          <label class="field">{t("wizard.mode")}<select value={m.mode} onChange={(e) => set({ ...m, mode: e.currentTarget.value as typeof m.mode })}>{["STRICT", "PERMISSIVE", "DISABLE"].map((o) => <option key={o}>{o}</option>)}</select></label>
          <label class="check"><input type="checkbox" checked={m.wholeNamespace} onChange={(e) => set({ ...m, wholeNamespace: e.currentTarget.checked })} />{t("wizard.wholeNamespace")}</label>
          <label class="check"><input type="checkbox" checked={m.exempt} onChange={(e) => set({ ...m, exempt: e.currentTarget.checked })} />{t("wizard.exempt", { ports: ports.join(", ") })}</label>
        </>
      )}
      <h3>{t("wizard.seen")}</h3>
      {seen.length === 0 ? <p class="muted">{t("wizard.warning.nothingSeen")}</p> : (
        <ul class="plain">{seen.map((s) => <li key={s.name}><strong>{s.name}</strong> <span class="mono small muted wrap">{s.principal ?? t("panel.noPrincipal")}</span></li>)}</ul>
      )}
    </div>
  );
}
