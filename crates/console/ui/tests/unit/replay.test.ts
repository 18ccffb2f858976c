import assert from "node:assert/strict";
import { test } from "node:test";
import { span, step } from "../../src/state/replay.ts";
import { defaults, format, parse } from "../../src/state/url.ts";

test("a replay begins where one looks, or so long ago where it is live; never before what is stored", () => {
  assert.deepEqual(span(null, 300, 10_000, 0), { from: 9700, until: 10_000 });
  assert.deepEqual(span(5000, 300, 10_000, 0), { from: 5000, until: 5300 });
  assert.deepEqual(span(9900, 300, 10_000, 0), { from: 9900, until: 10_000 });
  assert.deepEqual(span(null, 1800, 10_000, 9000), { from: 9000, until: 10_000 });
});

test("it walks, stops at its end, and goes live where its end is now", () => {
  assert.deepEqual(step(5000, 5300, 30, 10_000), { at: 5030, play: 5300 });
  assert.deepEqual(step(5290, 5300, 30, 10_000), { at: 5300, play: null });
  assert.deepEqual(step(9995, 10_000, 30, 10_001), { at: null, play: null });
});

test("the address holds a replay, and forgets one that is over", () => {
  const view = { ...defaults(), page: "graph" as const, at: 5000, play: 5300, replay: 1800, speed: 60 };
  assert.deepEqual(parse("/console/graph", format(view).split("?")[1]), view);
  assert.equal(parse("/console/graph", "at=5400&play=5300").play, null);
  assert.equal(parse("/console/graph", "play=5300").play, null);
});
