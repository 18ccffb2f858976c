// What is shown and how: graph type, labels, marks, find and hide.
import { computed } from "@preact/signals";
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { t } from "../i18n/index.ts";
import { graph } from "../state/graph.ts";
import { go, view } from "../state/store.ts";
import { type LabelName, rateNames, type Rates, type ShowName, type TimeStat } from "../state/url.ts";
import { Icon } from "../parts/icons.tsx";
import { Popover } from "../parts/popover.tsx";
import { severalClusters } from "./clusters.ts";
import { FindError, operands } from "./find.ts";

const types = ["versionedApp", "app", "workload", "service"] as const;
const labels: LabelName[] = ["rate", "errors", "time", "throughput", "share"];
const shows: ShowName[] = ["services", "idle", "animation", "security", "badges", "clusters", "boxes", "apps", "all"];
/** One cluster needs no box. */
const several = computed(() => severalClusters(graph.value?.nodes.values() ?? []));
const stats: TimeStat[] = ["avg", "p50", "p95", "p99"];

export function Toolbar({ findError, hideError }: { findError: FindError | null; hideError: FindError | null }): JSX.Element {
  const v = view.value;
  return (
    <div class="toolbar" role="toolbar" aria-label={t("graph.title")}>
      <div class="segmented" role="group" aria-label={t("graph.type")}>
        {types.map((type) => (
          <button key={type} type="button" aria-pressed={v.type === type} onClick={() => go({ type, selected: "" }, "push")}>{t(`graph.type.${type}`)}</button>
        ))}
      </div>
      <Popover label={t("graph.traffic")} id="traffic"><Traffic /></Popover>
      <Popover label={t("graph.display")} id="display"><Display /></Popover>
      <Search which="find" error={findError} />
      <Search which="hide" error={hideError} />
      <Popover label={<Icon name="help" />} name={t("graph.find.help")} id="find-help" plain><FindHelp /></Popover>
      <span class="grow" />
      <div class="segmented" role="group" aria-label={t("graph.as")}>
        {(["graph", "table"] as const).map((as) => (
          <button key={as} type="button" aria-pressed={v.as === as} onClick={() => go({ as }, "push")}>{t(`graph.as.${as}`)}</button>
        ))}
      </div>
    </div>
  );
}

/** What the graph is drawn from. */
function Traffic(): JSX.Element {
  const { rates } = view.value;
  const group = (protocol: keyof Rates): JSX.Element => (
    <fieldset>
      <legend>{protocol === "grpc" ? "gRPC" : protocol.toUpperCase()}</legend>
      {rateNames[protocol].map((name) => (
        <label key={name} class="check">
          <input type="radio" name={`rate-${protocol}`} checked={rates[protocol] === name} onChange={() => go({ rates: { ...rates, [protocol]: name } })} />
          {protocol === "tcp" ? t(`graph.traffic.bytes.${name as Rates["tcp"]}`) : t(`graph.traffic.messages.${name as Rates["grpc"]}`)}
        </label>
      ))}
    </fieldset>
  );
  return <div class="columns">{group("http")}{group("grpc")}{group("tcp")}</div>;
}

function Display(): JSX.Element {
  const v = view.value;
  const toggle = (label: LabelName): void => go({ labels: v.labels.includes(label) ? v.labels.filter((l) => l !== label) : [...v.labels, label] });
  return (
    <div class="columns">
      <fieldset>
        <legend>{t("graph.labels")}</legend>
        {labels.map((label) => (
          <label key={label} class="check"><input type="checkbox" checked={v.labels.includes(label)} onChange={() => toggle(label)} />{t(`graph.label.${label}`)}</label>
        ))}
        <label class="field">{t("graph.stat")}
          <select value={v.stat} onChange={(e) => go({ stat: e.currentTarget.value as TimeStat })}>
            {stats.map((s) => <option key={s} value={s}>{s === "avg" ? t("graph.stat.avg") : s.toUpperCase()}</option>)}
          </select>
        </label>
      </fieldset>
      <fieldset>
        <legend>{t("graph.show")}</legend>
        {shows.filter((name) => name !== "clusters" || several.value).map((name) => (
          <label key={name} class="check">
            <input type="checkbox" checked={v.show[name]} onChange={() => go({ show: { ...v.show, [name]: !v.show[name] } })} />{t(`graph.show.${name}`)}
          </label>
        ))}
        {matchMedia("(prefers-reduced-motion: reduce)").matches && <p class="muted small">{t("graph.reducedMotion")}</p>}
      </fieldset>
    </div>
  );
}

function Search({ which, error }: { which: "find" | "hide"; error: FindError | null }): JSX.Element {
  const value = view.value[which];
  return (
    <span class="search">
      <input type="search" spellcheck={false} autocomplete="off" value={value} placeholder={t(`graph.${which}.placeholder`)} aria-label={t(`graph.${which}`)}
        aria-invalid={error ? "true" : undefined} aria-describedby={error ? `${which}-error` : undefined} onInput={(e) => go({ [which]: e.currentTarget.value })} />
      {error && <span id={`${which}-error`} class="error-tip" role="alert">{errorText(error)}</span>}
    </span>
  );
}

function errorText(error: FindError): string {
  switch (error.code) {
    case "operand": return t("find.error.operand", { word: error.word });
    case "operator": return t("find.error.operator", { word: error.word });
    case "value": return t("find.error.value", { word: error.word });
    case "number": return t("find.error.number", { word: error.word });
    default: return t(`find.error.${error.code}`);
  }
}

const examples = ["! healthy", "rt > 1000", "%httperr > 5 or %grpcerr > 5", "ns = blog-system and (app = web or app = was)", "! mtls", "name contains mysql", "rank <= 2", "http = NaN"];

function FindHelp(): JSX.Element {
  const [open] = useState(operands);
  const list = (title: string, words: string[]): JSX.Element => <><dt>{title}</dt><dd class="mono wrap">{words.join("  ")}</dd></>;
  return (
    <div class="help">
      <p>{t("find.help.intro")}</p>
      <dl class="facts">
        {list(t("find.help.nodes"), open.node)}
        {list(t("find.help.nodeFlags"), open.nodeFlags)}
        {list(t("find.help.edges"), open.edge)}
        {list(t("find.help.edgeFlags"), open.edgeFlags)}
        {list(t("find.help.ops"), ["=", "!=", ">", ">=", "<", "<=", "contains *=", "startswith ^=", "endswith $=", "! not", "is has", "and", "or", "( )"])}
      </dl>
      <h4>{t("find.help.examples")}</h4>
      <ul class="plain">{examples.map((e) => <li key={e}><button type="button" class="link mono" onClick={() => go({ find: e })}>{e}</button></li>)}</ul>
    </div>
  );
}
