// The languages hold the same messages, with the same names to be put in, and the Korean ones are Korean.
import assert from "node:assert/strict";
import { test } from "node:test";
import { en } from "../../src/i18n/en.ts";
import { ko } from "../../src/i18n/ko/messages.ts";

const names = (text: string): string[] => [...text.matchAll(/\{(\w+)\}/g)].map((m) => m[1]).sort();

test("English and Korean have the same keys", () => {
  assert.deepEqual(Object.keys(ko).sort(), Object.keys(en).sort());
});

test("every message is given the same names in both", () => {
  for (const key of Object.keys(en) as (keyof typeof en)[]) assert.deepEqual(names(ko[key]), names(en[key]), key);
});

test("no message is empty, and all but names and units are Korean", () => {
  const same = new Set(["table.security", "panel.mtls", "panel.unit.requests", "panel.unit.messages", "conflict.theirs"]);
  for (const key of Object.keys(en) as (keyof typeof en)[]) {
    assert.ok(ko[key].trim() && en[key].trim(), key);
    assert.ok(same.has(key) || /[가-힣]/.test(ko[key]), `${key}: ${ko[key]}`);
  }
});
