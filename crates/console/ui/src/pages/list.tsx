// What the lists of workloads, services and applications have in common.
import type { ComponentChildren, JSX } from "preact";
import { t } from "../i18n/index.ts";
import { Counts } from "../parts/findings.tsx";
import { HealthSign } from "../parts/health.tsx";
import { Problem, Waiting } from "../parts/states.tsx";
import { type Column, Table } from "../parts/table.tsx";
import { statusOf } from "../graph/model.ts";
import type { FindingCount, Health } from "../api/types.ts";
import { percent, short } from "../state/format.ts";
import { type Loaded, useLoad } from "../state/load.ts";
import { go, liveTurn, namespaces, view } from "../state/store.ts";
import type { PageName } from "../state/url.ts";

interface Item { namespace: string; name: string; health: Health; rate: number; errorShare: number; findings: FindingCount }

/** Asks again every ten seconds while it is live; rates are over the window of the page. */
export function useItems<R>(name: string, load: (namespaces: string, at: number | null, duration: number) => Promise<R[]>, all = false): Loaded<R[]> {
  const { at, window } = view.value;
  const turn = at ?? liveTurn.value;
  const ns = all ? "" : namespaces.value;
  return useLoad(`${name}/${ns}/${turn}/${window}`, () => load(ns, at, window));
}

const order = ["Failure", "Degraded", "Not Ready", "Healthy", "NA"];

export function List<R extends Item>({ page, items, extra, words }: { page: PageName; items: Loaded<R[]>; extra: Column<R>[]; words: (row: R) => string }): JSX.Element {
  const title = t(`nav.${page}`);
  const columns: Column<R>[] = [
    { id: "health", title: t("common.health"), cell: (r) => <HealthSign status={statusOf(r.health)} word />, value: (r) => order.indexOf(statusOf(r.health)) },
    { id: "name", title: t("common.name"), cell: (r) => r.name, value: (r) => r.name, row: true },
    { id: "namespace", title: t("common.namespace"), cell: (r) => r.namespace, value: (r) => r.namespace },
    ...extra,
    { id: "rate", title: t("common.rate"), number: true, cell: (r) => short(r.rate), value: (r) => r.rate },
    { id: "errors", title: t("common.errors"), number: true, cell: (r) => (r.rate > 0 ? <span class={r.errorShare > 0 ? "bad" : ""}>{percent(r.errorShare)}</span> : "–"), value: (r) => r.errorShare },
    { id: "findings", title: t("common.findings"), cell: (r) => <Counts count={r.findings} />, value: (r) => r.findings.errors * 1000 + r.findings.warnings },
  ];
  return (
    <div class="page">
      <div class="page-head"><h1>{title}</h1></div>
      {items.error && !items.data && <Problem error={items.error} again={items.again} />}
      {!items.data && !items.error && <Waiting />}
      {items.data && <Table caption={title} rows={items.data} columns={columns} id={(r) => `${r.namespace}/${r.name}`} filter={(r) => `${r.name} ${r.namespace} ${words(r)}`}
        onOpen={(r) => go({ page, path: [r.namespace, r.name], tab: "" }, "push")} sort="health" />}
    </div>
  );
}

export function Head({ page, name, namespace, children }: { page: PageName; name: string; namespace: string; children?: ComponentChildren }): JSX.Element {
  return (
    <div class="page-head">
      <h1><button type="button" class="link crumb" onClick={() => go({ page, path: [], tab: "" }, "push")}>{t(`nav.${page}`)}</button> <span class="muted" aria-hidden="true">/</span> {name}</h1>
      <span class="muted">{namespace}</span>
      {children}
    </div>
  );
}

/** One of a list, by the path of the address; null: it is not there at this time. */
export function pick<R extends Item>(items: R[] | null): R | null {
  const [namespace, name] = view.value.path;
  return items?.find((r) => r.namespace === namespace && r.name === name) ?? null;
}
