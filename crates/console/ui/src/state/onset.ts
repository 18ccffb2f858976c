// When errors began, and what had been changed shortly before: what one asks first. Pure.
import type { Change } from "../api/types.ts";

export interface Onset {
  /** Seconds since the epoch. */
  at: number;
  /** Share of requests that failed from then on, over the first points, from 0 to 1. */
  share: number;
}

/** From so large a share on, errors are worth a mark. */
const LEAST = 0.01;
const BEFORE = 5;
const AFTER = 3;

/** Where the share of errors rises to three times what it was, and to one in a hundred at least. */
export function onsets(times: readonly number[], all: readonly (number | null)[], bad: readonly (number | null)[]): Onset[] {
  const shares = times.map((_, i) => ((all[i] ?? 0) > 0 ? (bad[i] ?? 0) / all[i]! : 0));
  const mean = (from: number, to: number): number => {
    const part = shares.slice(Math.max(0, from), to);
    return part.length ? part.reduce((s, x) => s + x, 0) / part.length : 0;
  };
  const found: Onset[] = [];
  // What was there from the first point on did not begin here.
  for (let i = 1; i < times.length; i++) {
    const base = mean(i - BEFORE, i);
    const share = mean(i, i + AFTER);
    if (shares[i] < LEAST || shares[i] < base * 3 || share < LEAST) continue;
    found.push({ at: times[i], share });
    // On to where it is calm again.
    while (i + 1 < times.length && shares[i + 1] >= LEAST) i++;
  }
  return found;
}

/** How long before errors a change may have been made to be named with them; `blur`: how exactly their onset is known. */
export function changedBefore(onset: Onset, changes: readonly Change[], blur: number): Change[] {
  return changes.filter((c) => c.at <= onset.at + blur && c.at >= onset.at - 600 - blur).sort((a, b) => b.at - a.at);
}
