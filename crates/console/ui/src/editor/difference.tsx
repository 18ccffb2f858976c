// What is different between two texts: in one column, or one beside the other, as the reader likes it.
import { signal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { t } from "../i18n/index.ts";

type Look = "unified" | "split";
const look = signal<Look>("unified");
try { if (localStorage.getItem("difference") === "split") look.value = "split"; } catch { /* private mode */ }

export function DifferenceLook(): JSX.Element {
  const choose = (to: Look): void => {
    look.value = to;
    try { localStorage.setItem("difference", to); } catch { /* private mode */ }
  };
  return (
    <div class="segmented" role="group" aria-label={t("difference.look")}>
      {(["unified", "split"] as const).map((l) => <button key={l} type="button" aria-pressed={look.value === l} onClick={() => choose(l)}>{t(`difference.${l}`)}</button>)}
    </div>
  );
}

export function Difference({ before, after, label }: { before: string; after: string; label: string }): JSX.Element {
  const host = useRef<HTMLDivElement>(null);
  const split = look.value === "split" && before !== "";
  useEffect(() => {
    let stop = (): void => undefined;
    let gone = false;
    void import("./codemirror.ts").then(({ difference, beside }) => { if (!gone && host.current) stop = (split ? beside : difference)(host.current, before, after, label); });
    return () => { gone = true; stop(); };
  }, [before, after, split]);
  return <div ref={host} class={split ? "diff is-split" : "diff"} />;
}
