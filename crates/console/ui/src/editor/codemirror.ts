// CodeMirror, as little of it as an editor of YAML needs. Loaded when an editor is opened.
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { yaml } from "@codemirror/lang-yaml";
import { bracketMatching, HighlightStyle, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { type Diagnostic, linter, lintGutter, lintKeymap } from "@codemirror/lint";
import { MergeView, unifiedMergeView } from "@codemirror/merge";
import { EditorState, type Extension } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";
import { parseAllDocuments } from "yaml";
import type { Finding } from "../api/types.ts";
import { said } from "../i18n/index.ts";

const colours = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: "var(--accent)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--text)" },
  { tag: [tags.number, tags.bool, tags.null], color: "var(--tone-degraded)" },
  { tag: tags.comment, color: "var(--muted)", fontStyle: "italic" },
]);

const look = EditorView.theme({
  "&": { fontSize: "12.5px", backgroundColor: "var(--surface)", color: "var(--text)", height: "100%" },
  ".cm-content": { fontFamily: 'ui-monospace, "JetBrains Mono", "SF Mono", "DejaVu Sans Mono", Menlo, monospace', caretColor: "var(--text)", padding: "8px 0" },
  ".cm-gutters": { backgroundColor: "var(--surface)", color: "var(--muted)", border: "0" },
  ".cm-activeLine": { backgroundColor: "color-mix(in srgb, var(--accent) 6%, transparent)" },
  "&.cm-focused": { outline: "2px solid var(--accent)", outlineOffset: "-1px" },
  "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "color-mix(in srgb, var(--accent) 22%, transparent) !important" },
  ".cm-cursor": { borderLeftColor: "var(--text)" },
  ".cm-tooltip": { backgroundColor: "var(--raised)", border: "1px solid var(--line)", borderRadius: "7px", color: "var(--text)" },
  ".cm-diagnostic": { fontFamily: "inherit", padding: "5px 10px" },
  ".cm-collapsedLines": { background: "var(--sunk) !important", color: "var(--muted)", padding: "2px 10px" },
  ".cm-collapsedLines::before, .cm-collapsedLines::after": { content: '"⋯" !important' },
  ".cm-changedLine": { backgroundColor: "var(--add) !important" },
  ".cm-deletedChunk": { backgroundColor: "var(--del) !important" },
  ".cm-changedText": { background: "color-mix(in srgb, var(--tone-mtls) 28%, transparent) !important" },
  ".cm-deletedChunk .cm-deletedText": { background: "color-mix(in srgb, var(--tone-failure) 28%, transparent) !important" },
});

const common = (label: string): Extension[] => [lineNumbers(), yaml(), syntaxHighlighting(colours), look, EditorView.lineWrapping, EditorView.contentAttributes.of({ "aria-label": label })];

/** What is wrong with the text as YAML: found here, so that it is marked at once. */
export function syntax(text: string): Finding[] {
  return parseAllDocuments(text).flatMap((doc) => doc.errors).map((e) => ({
    severity: "error", code: "yaml", message: e.message.split("\n")[0].replace(/ at line.*/, ""), hint: "", field: "", line: e.linePos?.[0].line ?? 1, column: e.linePos?.[0].col ?? 1,
  }));
}

export interface Open { focus: () => void; goTo: (line: number) => void; set: (text: string) => void; destroy: () => void }

/** `check` is asked a moment after typing has stopped. */
export function edit(host: HTMLElement, options: { text: string; label: string; readOnly: boolean; onChange: (text: string) => void; check: (text: string) => Promise<Finding[]> }): Open {
  const lint = linter(async (editor): Promise<Diagnostic[]> => {
    const text = editor.state.doc.toString();
    const wrong = syntax(text);
    const findings = wrong.length ? wrong : await options.check(text);
    if (wrong.length) void options.check("");
    return findings.filter((f) => f.line > 0 && f.line <= editor.state.doc.lines).map((f) => {
      const line = editor.state.doc.line(f.line);
      return { from: Math.min(line.to, line.from + Math.max(0, f.column - 1)), to: line.to, severity: f.severity, source: f.code, message: [f.message, f.hint].filter(Boolean).map(said).join("\n") };
    });
  }, { delay: 350 });
  const editor = new EditorView({
    parent: host,
    state: EditorState.create({
      doc: options.text,
      extensions: [...common(options.label), history(), drawSelection(), highlightActiveLine(), bracketMatching(), indentOnInput(), lintGutter(), lint,
        // Tab indents; Escape and then Tab leaves, as CodeMirror has it.
        keymap.of([...defaultKeymap, ...historyKeymap, ...lintKeymap, indentWithTab]),
        EditorState.readOnly.of(options.readOnly),
        EditorView.updateListener.of((u) => { if (u.docChanged) options.onChange(u.state.doc.toString()); })],
    }),
  });
  return {
    focus: () => editor.focus(),
    goTo: (n) => {
      const line = editor.state.doc.line(Math.max(1, Math.min(n, editor.state.doc.lines)));
      editor.dispatch({ selection: { anchor: line.from }, effects: EditorView.scrollIntoView(line.from, { y: "center" }) });
      editor.focus();
    },
    set: (text) => editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: text } }),
    destroy: () => editor.destroy(),
  };
}

/** What is different, in one column. */
export function difference(host: HTMLElement, before: string, after: string, label: string): () => void {
  const editor = new EditorView({
    parent: host,
    state: EditorState.create({ doc: after, extensions: [...common(label), EditorState.readOnly.of(true), EditorView.editable.of(false),
      unifiedMergeView({ original: before, mergeControls: false, highlightChanges: true, gutter: true, collapseUnchanged: { margin: 3, minSize: 6 } })] }),
  });
  // What cannot be edited can still be scrolled by keys.
  editor.scrollDOM.tabIndex = 0;
  return () => editor.destroy();
}

/** One beside the other. */
export function beside(host: HTMLElement, before: string, after: string, label: string): () => void {
  const side = (doc: string, which: string): { doc: string; extensions: Extension } => ({ doc, extensions: [...common(`${label}, ${which}`), EditorState.readOnly.of(true), EditorView.editable.of(false)] });
  const view = new MergeView({ parent: host, a: side(before, "A"), b: side(after, "B"), highlightChanges: true, gutter: true, collapseUnchanged: { margin: 3, minSize: 6 } });
  view.a.scrollDOM.tabIndex = 0;
  view.b.scrollDOM.tabIndex = 0;
  return () => view.destroy();
}
