// The mesh itself: control plane, certificates, proxies and whether they hold the newest configuration, the store.
import type { JSX } from "preact";
import { api } from "../api/client.ts";
import type { Certificate, Proxy } from "../api/types.ts";
import { mtlsShare } from "../api/prometheus.ts";
import { said, t } from "../i18n/index.ts";
import { Problem, Waiting } from "../parts/states.tsx";
import { Table } from "../parts/table.tsx";
import { bytes, duration, moment as momentText, percent, short, span } from "../state/format.ts";
import { useLoad } from "../state/load.ts";
import { href, liveTurn, view } from "../state/store.ts";

const DAY = 86400;
const sync: Record<Proxy["sync"], string> = { synced: "health-healthy", stale: "health-degraded", rejected: "health-failure", lost: "health-na" };

export default function MeshPage(): JSX.Element {
  const at = view.value.at;
  const now = at ?? liveTurn.value;
  const { data, error, again } = useLoad(`mesh/${now}`, () => api.mesh(at));
  const secured = useLoad(`mtls/${now}`, (signal) => mtlsShare(now, view.value.window, signal));
  const known = (n: number, words: (n: number) => string): string => (n > 0 ? words(n) : "–");
  if (!data) return error ? <Problem error={error} again={again} /> : <Waiting />;
  // A workload's certificate lives for a day and is renewed at half of it; others are renewed by people.
  const soon = (c: Certificate): boolean => c.notAfter - now < (c.role === "workload" ? 2 * 3600 : 14 * DAY);
  return (
    <div class="page">
      <div class="page-head"><h1>{t("nav.mesh")}</h1></div>
      <div class="split">
        {data.controlPlane.map((c) => (
          <section key={`${c.namespace}/${c.name}`} class="card"><h2>{t("mesh.controlPlane")} <span class="muted">{c.name} {c.version}</span></h2>
            <dl class="facts">
              <dt>{t("health.replicas")}</dt><dd class={c.ready < c.replicas ? "bad" : ""}>{t("health.replicas.text", { available: c.ready, desired: c.replicas })}</dd>
              <dt>{t("mesh.revision")}</dt><dd class="mono">{c.revision}</dd>
              <dt>{t("mesh.convergence")}</dt><dd>{known(c.convergence, duration)}</dd>
              <dt>{t("mesh.cpu")}</dt><dd>{known(c.cpu, short)} · {known(c.memory, bytes)}</dd>
            </dl>
          </section>
        ))}
        <section class="card"><h2>{t("mesh.store")}</h2>
          <dl class="facts">
            <dt>{t("mesh.store.holds")}</dt><dd>{t("mesh.store.counts", { samples: short(data.store.samples), spans: short(data.store.spans), lines: short(data.store.lines) })}</dd>
            <dt>{t("mesh.store.size")}</dt><dd>{bytes(data.store.bytes)} / {bytes(data.store.limit)}<meter min={0} max={data.store.limit} value={data.store.bytes} aria-label={t("mesh.store.size")} /></dd>
            <dt>{t("mesh.store.oldest")}</dt><dd>{t("common.ago", { span: span(now - data.store.oldest) })}</dd>
            <dt>{t("mesh.store.dropped")}</dt><dd class={data.store.dropped ? "bad" : ""}>{data.store.dropped}</dd>
          </dl>
        </section>
        <section class="card"><h2>{t("mesh.settings")}</h2>
          <dl class="facts"><dt>mTLS</dt><dd>{data.mtls.mode} · {t("panel.mtls", { share: percent(secured.data ?? NaN) })}</dd>
            {data.settings.map((s) => <><dt class="mono">{s.name}</dt><dd>{s.value}<small>{said(s.meaning)}</small></dd></>)}</dl>
        </section>
      </div>
      <section><h2 class="section-title">{t("mesh.certificates")}</h2>
        <Table caption={t("mesh.certificates")} rows={data.certificates} id={(c) => c.subject + c.role} sort="expires" columns={[
          { id: "role", title: t("mesh.role"), value: (c) => c.role, cell: (c) => c.role },
          { id: "subject", title: t("mesh.subject"), row: true, value: (c) => c.subject, cell: (c) => <span class="mono">{c.subject}</span> },
          { id: "issuer", title: t("mesh.issuer"), value: (c) => c.issuer, cell: (c) => c.issuer },
          { id: "expires", title: t("mesh.notAfter"), number: true, value: (c) => c.notAfter, cell: (c) => <span class={soon(c) ? "bad strong" : ""} title={momentText(c.notAfter)}>{soon(c) && "▲ "}{c.notAfter < now ? t("mesh.expired") : t("common.in", { span: span(c.notAfter - now) })}</span> },
          { id: "life", title: t("mesh.life"), value: (c) => lived(c, now) ?? -1, cell: (c) => <Life share={lived(c, now)} soon={soon(c)} /> },
        ]} />
      </section>
      <section><h2 class="section-title">{t("mesh.proxies")}</h2>
        {data.proxies.length > 0 && <p class="summary-line"><span>{t("mesh.summary", { synced: data.proxies.filter((p) => p.sync === "synced").length, all: data.proxies.length })}</span><span class="muted">{t("mesh.versions")}: {versions(data.proxies)}</span></p>}
        <Table caption={t("mesh.proxies")} rows={data.proxies} id={(p) => p.namespace + p.pod} sort="sync" descending filter={(p) => `${p.pod} ${p.namespace} ${p.version} ${p.sync}`} columns={[
          { id: "sync", title: t("mesh.sync"), value: (p) => ["synced", "lost", "stale", "rejected"].indexOf(p.sync), cell: (p) => <span class={`health ${sync[p.sync]}`}>{{ synced: "●", stale: "▲", rejected: "■", lost: "○" }[p.sync]} {t(`mesh.sync.${p.sync}`)}</span> },
          { id: "pod", title: t("mesh.pod"), row: true, value: (p) => p.pod, cell: (p) => <><a href={href({ page: "workloads", path: [p.namespace, p.workload] })}>{p.pod}</a>{p.error && <div class="bad small mono">{p.error}</div>}</> },
          { id: "namespace", title: t("common.namespace"), value: (p) => p.namespace, cell: (p) => p.namespace },
          { id: "version", title: t("common.version"), value: (p) => p.version, cell: (p) => (!p.version ? "–" : p.version === data.controlPlane[0]?.version.replace(/-.*/, "") ? p.version : <span class="health-degraded">{p.version}</span>) },
          { id: "revision", title: t("mesh.revision"), value: (p) => p.revision, cell: (p) => <span class="mono">{p.revision}</span> },
          { id: "memory", title: t("mesh.memory"), number: true, value: (p) => p.memory, cell: (p) => known(p.memory, bytes) },
          { id: "certificate", title: t("mesh.certificate"), number: true, value: (p) => p.certificateExpires, cell: (p) => <span class={p.certificateExpires > 0 && p.certificateExpires - now < 7200 ? "bad" : ""}>{known(p.certificateExpires, (at) => t("common.in", { span: span(at - now) }))}</span> },
        ]} />
      </section>
    </div>
  );
}

/** How much of a certificate's life is over, from 0 to 1; null: nobody says when it began. */
const lived = (c: Certificate, now: number): number | null => (c.notBefore <= 0 ? null : Math.min(1, Math.max(0, (now - c.notBefore) / Math.max(1, c.notAfter - c.notBefore))));

function Life({ share, soon }: { share: number | null; soon: boolean }): JSX.Element {
  if (share === null) return <span class="muted">–</span>;
  return <span class={`life ${soon ? "is-soon" : ""}`} role="img" aria-label={t("mesh.lifetime", { share: percent(share) })} title={t("mesh.lifetime", { share: percent(share) })}><span style={{ width: `${share * 100}%` }} /></span>;
}

/** How many proxies are of which version, the most first. */
function versions(proxies: Proxy[]): string {
  const count = new Map<string, number>();
  for (const p of proxies) count.set(p.version || "?", (count.get(p.version || "?") ?? 0) + 1);
  return [...count].sort((a, b) => b[1] - a[1]).map(([v, n]) => `${v} × ${n}`).join(", ");
}
