// What Rust sources say in words: their texts, as they come out with anything put in.
import { readFileSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";

/** Files below a folder or beside it by name, without those of tests. Paths are given from the folder of the crates. */
export function sources(root: string, paths: readonly string[]): string[] {
  const below = (path: string): string[] =>
    statSync(path).isDirectory() ? readdirSync(path).flatMap((name) => below(join(path, name))) : [path];
  return paths.flatMap((path) => below(join(root, path))).filter((path) => path.endsWith(".rs") && !/\/tests?(\/|\.rs$)/.test(path));
}

/** Every text of a file that has words, with `{…}` where something is put in. */
export function texts(path: string): string[] {
  const code = readFileSync(path, "utf8")
    .split(/#\[cfg\(test\)\]\s*mod tests \{/)[0]
    .replace(/^\s*\/\/.*$/gm, "")
    .replace(/b?'\\?"'/g, "");
  const found: string[] = [];
  for (const { 1: text, index } of code.matchAll(/"((?:[^"\\]|\\[^])*)"/g)) {
    // For whoever reads the code, or the log.
    if (/(reason = |expect\(|(warn|error|info|debug)!\([^;]*)$/.test(code.slice(Math.max(0, index - 200), index))) continue;
    found.push(text.replace(/\\\n\s*/g, "").replace(/\\n/g, "\n").replace(/\\(.)/g, "$1"));
  }
  return found.filter(isSaid);
}

/** At least two words; what begins with a comma or a space is the end of something else. */
function isSaid(text: string): boolean {
  const words = text.replace(/\{[^{}]*\}/g, "").split(/\s+/).filter((word) => /^[("`]?[A-Za-z'-]{2,}[,.;:!?)"`]*$/.test(word));
  return words.length > 1 && /^[^ ,;]/.test(text) && !/^[A-Z]\w*[A-Z]\w* |[<=]/.test(text);
}

/** The same as it comes out. */
export const filled = (text: string): string => text.replace(/\{\{|\}\}|\{[^{}]*\}/g, (slot) => (slot === "{{" ? "{" : slot === "}}" ? "}" : "XX"));
