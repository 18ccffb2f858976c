import assert from "node:assert/strict";
import { test } from "node:test";
import { changedBefore, onsets } from "../../src/state/onset.ts";

const times = Array.from({ length: 20 }, (_, i) => 1000 + i * 60);
const all = times.map(() => 100);
const bad = (from: number, to: number, n: number, calm = 0): number[] => times.map((_, i) => (i >= from && i < to ? n : calm));

test("an onset is where errors rise, once for each time that they do", () => {
  const [one, ...more] = onsets(times, all, bad(8, 14, 20));
  assert.deepEqual([one.at, Math.round(one.share * 1000), more.length], [times[8], 200, 0]);
  assert.equal(onsets(times, all, bad(5, 8, 20).map((n, i) => n || bad(15, 18, 9)[i])).length, 2);
});

test("what is too little, always there, there from the first, or without requests is no onset", () => {
  assert.deepEqual(onsets(times, all, bad(8, 14, 0.5)), []);
  assert.deepEqual(onsets(times, all, times.map(() => 5)), []);
  assert.deepEqual(onsets(times, all, bad(0, 9, 30)), []);
  assert.deepEqual(onsets(times, times.map(() => 0), bad(8, 14, 0)), []);
  assert.deepEqual(onsets(times, all, bad(8, 14, 8, 4)), [], "twice what it was is not three times");
  assert.equal(onsets(times, all, bad(8, 14, 40, 4)).length, 1);
});

test("changes of the ten minutes before are named, the last first", () => {
  const change = (at: number) => ({ at, verb: "updated" as const, kind: "VirtualService", namespace: "n", name: String(at), by: "", summary: "" });
  const list = [change(100), change(900), change(1450), change(1500), change(1600)];
  assert.deepEqual(changedBefore({ at: 1480, share: 0.2 }, list, 60).map((c) => c.at), [1500, 1450, 900]);
});
