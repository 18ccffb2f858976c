// Loads something whenever what it depends on changes; an answer that comes too late is dropped.
import { useEffect, useState } from "preact/hooks";
import { session } from "./store.ts";

export interface Loaded<T> { data: T | null; error: Error | null; loading: boolean; again: () => void }

/** `key` says what is wanted: another key loads again, and what was there stays until the new is there. */
export function useLoad<T>(key: string, load: (signal: AbortSignal) => Promise<T>): Loaded<T> {
  const [state, set] = useState<{ data: T | null; error: Error | null; loading: boolean }>({ data: null, error: null, loading: true });
  const [turn, retry] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    set((old) => ({ ...old, loading: true }));
    load(stop.signal).then(
      (data) => { if (!stop.signal.aborted) set({ data, error: null, loading: false }); },
      (error: Error) => { if (!stop.signal.aborted) set((old) => ({ data: old.data, error, loading: false })); },
    );
    return () => stop.abort();
  }, [key, turn, session.value]);
  return { ...state, again: () => retry((n) => n + 1) };
}
