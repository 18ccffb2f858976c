// A button that copies a text, and says that it did.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { t } from "../i18n/index.ts";

export function Copy({ text, what = "" }: { text: string; what?: string }): JSX.Element {
  const [done, say] = useState(false);
  const copy = async (): Promise<void> => {
    // Where the page came over plain HTTP from elsewhere there is no clipboard: then nothing is claimed.
    try { await navigator.clipboard.writeText(text); say(true); setTimeout(() => say(false), 2000); } catch { say(false); }
  };
  return <button type="button" class="button" onClick={() => void copy()} aria-live="polite">{done ? t("common.copied") : [t("common.copy"), what].filter(Boolean).join(" ")}</button>;
}
