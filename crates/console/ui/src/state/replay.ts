// Replay: the moment that is looked at walks by itself. Where it began and ends, and how fast it goes, stand in the address.
import { useEffect } from "preact/hooks";
import { waiting } from "../api/client.ts";
import { go, info, now, view } from "./store.ts";

/** Seconds of replay from its beginning to its end. */
export const reaches = [60, 300, 600, 1800] as const;
/** Seconds of the past in a second of ours. */
export const speeds = [1, 10, 30, 60] as const;

/** From the moment that is looked at on; from so long ago, where it is live. Pure. */
export function span(at: number | null, reach: number, end: number, oldest: number): { from: number; until: number } {
  const from = Math.max(oldest, at === null || at >= end - 1 ? end - reach : at);
  return { from: Math.round(from), until: Math.round(Math.min(end, from + reach)) };
}

/** Where it stands one step later: at its end it stops, and where that is now, it goes live. Pure. */
export function step(at: number, until: number, seconds: number, end: number): { at: number | null; play: number | null } {
  const next = Math.round(at + seconds);
  if (next < until) return { at: next, play: until };
  return { at: until >= end - 2 ? null : until, play: null };
}

export function play(): void {
  const { at, replay } = view.peek();
  const { from, until } = span(at, replay, now(), info.peek()?.oldest ?? 0);
  go({ at: from, play: until }, "push");
}

export const pause = (): void => go({ play: null });

/** A step is left out while an answer is waited for: what is shown is never older than the moment that is named. */
export function useReplay(): void {
  const { play: until, speed } = view.value;
  useEffect(() => {
    if (until === null) return;
    const pace = speed === 1 ? 1000 : 500;
    const timer = setInterval(() => {
      if (waiting() > 0 || document.hidden) return;
      const v = view.peek();
      if (v.play === null || v.at === null) { go({ play: null }); return; }
      go(step(v.at, v.play, (speed * pace) / 1000, now()));
    }, pace);
    return () => clearInterval(timer);
  }, [until, speed]);
}
