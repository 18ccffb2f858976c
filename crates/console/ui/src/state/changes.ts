// Changes of configuration within the span of the time line.
import { computed, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api } from "../api/client.ts";
import { subscribe } from "../api/stream.ts";
import type { Change } from "../api/types.ts";
import { now, view } from "./store.ts";

export const changes = signal<Change[]>([]);

/** Those that had been made at the moment that is looked at. */
export const shownChanges = computed(() => changes.value.filter((c) => view.value.at === null || c.at <= view.value.at));

/** Oldest first. */
export function useChanges(): void {
  const { span } = view.value;
  useEffect(() => {
    const stop = new AbortController();
    const to = now();
    api.changes(to - span, to, stop.signal).then((list) => (changes.value = list.sort((a, b) => a.at - b.at)), () => undefined);
    const end = subscribe("changes", {}, (change) => (changes.value = [...changes.peek(), change]));
    return () => { stop.abort(); end(); };
  }, [span]);
}
