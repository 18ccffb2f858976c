// The language of the page. Korean is loaded only when it is asked for.
import { batch, signal } from "@preact/signals";
import { en } from "./en.ts";

export type Key = keyof typeof en;
export type Catalogue = Record<Key, string>;
export type Language = "en" | "ko";

/** Names that a message has to be given. */
type Names<S extends string> = S extends `${string}{${infer N}}${infer Rest}` ? N | Names<Rest> : never;
type Args<K extends Key> = [Names<(typeof en)[K]>] extends [never] ? [] : [Record<Names<(typeof en)[K]>, string | number>];

export const language = signal<Language>("en");
const catalogue = signal<Catalogue>(en);
/** How sentences of the server are read: in English as they are. */
const reading = signal((text: string): string => text);

export async function setLanguage(wanted: Language): Promise<void> {
  const { messages, read } = wanted === "ko" ? await import("./ko/index.ts") : { messages: en, read: (text: string) => text };
  batch(() => {
    catalogue.value = messages;
    reading.value = read;
    language.value = wanted;
  });
  document.documentElement.lang = wanted;
  try { localStorage.setItem("language", wanted); } catch { /* private mode: it is not kept */ }
}

/** What was chosen before, else what the browser prefers. */
export function preferredLanguage(): Language {
  let kept: string | null = null;
  try { kept = localStorage.getItem("language"); } catch { /* private mode */ }
  return (kept ?? navigator.language).startsWith("ko") ? "ko" : "en";
}

/** A message; every name in it has to be given, or it does not compile. */
export function t<K extends Key>(key: K, ...args: Args<K>): string {
  const text = catalogue.value[key];
  const values = (args[0] ?? {}) as Record<string, string | number>;
  return text.replace(/\{(\w+)\}/g, (_, name: string) => String(values[name] ?? ""));
}

/** A sentence of the server, which says it in English. */
export const said = (text: string): string => reading.value(text);
