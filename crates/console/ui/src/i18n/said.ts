// Sentences that the server says, in another language. The server says them in English, as terminals, logs and kubectl show them: here each is
// known by its form. What has no form here stays as it was said.

/**
 * A form, and the same in the other language. `{name}` is one word, or all of what stands in quotes, and stays as it is; `{name*}` is any
 * text, which is said in the other language where it has a form.
 */
export type Row = readonly [english: string, other: string];

const SLOT = /\{(\w+)(\*?)\}/g;
const WORD = '("[^"]*"|`[^`]*`|\\S+?)';

type Form = {
  /** The longest part that a text has to have; asked first, since it is cheap. */
  literal: string;
  /** Whether it has words of its own. */
  worded: boolean;
  /** How much of it is always the same. */
  size: number;
  fits: RegExp;
  /** What the parts are called, in their order, and whether they are translated. */
  slots: { name: string; said: boolean }[];
  other: string;
};

/** So many texts are kept; a page shows a few hundred. */
const KEPT = 2_000;

/** What reads texts by these forms. A form ends without its full stop. */
export function reader(rows: readonly Row[]): (text: string) => string {
  const whole = new Map<string, string>();
  const forms: Form[] = [];
  for (const row of rows) {
    if (row[0].includes("{")) forms.push(form(row));
    else whole.set(row[0], row[1]);
  }
  // Of two that fit, the one that says more itself is meant.
  forms.sort((a, b) => b.size - a.size);

  const fitting = (text: string): string | null => {
    const plain = whole.get(text);
    if (plain !== undefined) return plain;
    for (const { literal, worded, fits, slots, other } of forms) {
      const found = text.includes(literal) ? fits.exec(text) : null;
      if (!found) continue;
      const parts = new Map(slots.map(({ name, said }, i) => [name, said ? read(found[i + 1]) : found[i + 1]]));
      // What says nothing itself is a form only of parts that have one.
      if (!worded && slots.every(({ name }, i) => parts.get(name) === found[i + 1])) continue;
      return other.replace(SLOT, (_, name: string) => parts.get(name) ?? "");
    }
    return null;
  };
  const one = (text: string): string | null => {
    const stop = text.endsWith(".") ? "." : "";
    const found = fitting(stop ? text.slice(0, -1) : text);
    return found === null ? null : found + stop;
  };
  /** In pieces between separators, where at least one of them is known. */
  const pieces = (text: string, between: RegExp | string, joined: string): string | null => {
    const all = text.split(between);
    const read = all.length > 1 ? all.map((piece) => translated(piece)) : [];
    return read.some((piece) => piece !== null) ? read.map((piece, i) => piece ?? all[i]).join(joined) : null;
  };
  const translated = (text: string): string | null =>
    pieces(text, /(?<=[.!?]) (?=[A-Z`"])/, " ") ?? one(text) ?? pieces(text, "; ", "; ") ?? pieces(text, ", ", ", ");

  const kept = new Map<string, string>();
  function read(text: string): string {
    let found = kept.get(text);
    if (found === undefined) {
      found = translated(text) ?? text;
      if (kept.size >= KEPT) kept.clear();
      kept.set(text, found);
    }
    return found;
  }
  /** What follows the first line is no sentence, but a resource to copy. */
  return (text) => {
    const [first, ...rest] = text.split("\n");
    return [read(first), ...rest].join("\n");
  };
}

function form([english, other]: Row): Form {
  const slots = [...english.matchAll(SLOT)].map(([, name, said]) => ({ name, said: said === "*" }));
  const between = english.split(SLOT).filter((_, i) => i % 3 === 0);
  const escaped = between.map((text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&"));
  const literal = between.reduce((longest, text) => (text.length > longest.length ? text : longest), "");
  const wanted = slots.map(({ name, said }, i) => {
    if (!said) return between[i].endsWith("`") ? "([^`]*)" : between[i].endsWith('"') ? '([^"]*)' : WORD;
    // What ends the one and not the other does not go on behind a semicolon: that would come to stand before what ends it.
    const last = english.endsWith(`{${name}*}`) && !other.endsWith(`{${name}*}`);
    return last ? "((?:(?!; ).)+)" : "(.+?)";
  });
  return { literal, worded: /\w/.test(between.join("")), size: between.join("").length, fits: new RegExp(`^${escaped.map((text, i) => text + (wanted[i] ?? "")).join("")}$`), slots, other };
}
