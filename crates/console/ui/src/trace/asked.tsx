// What was asked for and what was answered, in a line: the same in lists, heads and hops of traces.
import type { JSX } from "preact";
import { isBad } from "../state/format.ts";
import type { Asked } from "./model.ts";

export function AskedLine({ it }: { it: Asked | null }): JSX.Element | null {
  if (!it) return null;
  return (
    <span class="asked">
      {it.code && <span class={`code ${isBad(it.code) || it.code === "–" ? "bad" : ""}`}>{it.code}</span>} <span class="mono wrap">{it.method} {it.path}</span>{it.flags && <> <span class="flag">{it.flags}</span></>}
    </span>
  );
}
