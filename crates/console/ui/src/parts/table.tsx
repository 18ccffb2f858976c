// A table that can be sorted, filtered, and walked with the arrow keys. A row is opened by Enter or a press.
import type { ComponentChildren, JSX, TargetedKeyboardEvent } from "preact";
import { useMemo, useState } from "preact/hooks";
import { t } from "../i18n/index.ts";

export interface Column<R> {
  id: string;
  title: string;
  cell: (row: R) => ComponentChildren;
  value: (row: R) => string | number;
  number?: boolean;
  /** Names the row. */
  row?: boolean;
}

export function Table<R>({ caption, rows, columns, id, onOpen, selected, sort, descending = false, filter }: {
  caption: string; rows: R[]; columns: Column<R>[]; id: (row: R) => string; onOpen?: (row: R) => void; selected?: string;
  sort?: string; descending?: boolean; filter?: (row: R) => string;
}): JSX.Element {
  const [by, setBy] = useState({ column: sort ?? columns[0].id, down: descending });
  const [words, setWords] = useState("");
  const shown = useMemo(() => {
    const column = columns.find((c) => c.id === by.column) ?? columns[0];
    const wanted = words.toLowerCase().split(/\s+/).filter(Boolean);
    const kept = filter ? rows.filter((r) => { const text = filter(r).toLowerCase(); return wanted.every((w) => text.includes(w)); }) : [...rows];
    return kept.sort((a, b) => {
      const [x, y] = [column.value(a), column.value(b)];
      const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y));
      return (by.down ? -order : order) || id(a).localeCompare(id(b));
    });
  }, [rows, by, words, columns]);
  const keys = (e: TargetedKeyboardEvent<HTMLTableRowElement>, row: R): void => {
    const row_ = e.currentTarget;
    if (e.target !== row_) return;
    const to = e.key === "ArrowDown" ? row_.nextElementSibling : e.key === "ArrowUp" ? row_.previousElementSibling : e.key === "Home" ? row_.parentElement!.firstElementChild : e.key === "End" ? row_.parentElement!.lastElementChild : null;
    if (to) (to as HTMLElement).focus();
    else if (e.key === "Enter" || e.key === " ") onOpen?.(row);
    else return;
    e.preventDefault();
  };
  return (
    <div class="table-box">
      {filter && (
        <div class="table-bar">
          <input type="search" value={words} placeholder={t("common.filterBy")} aria-label={t("common.filter")} onInput={(e) => setWords(e.currentTarget.value)} />
          <span class="muted small" aria-live="polite">{t("common.rows", { count: shown.length })}</span>
        </div>
      )}
      <div class="scroll">
        <table>
          <caption class="sr">{caption}</caption>
          <thead>
            <tr>
              {columns.map((c) => (
                <th key={c.id} scope="col" class={c.number ? "number" : ""} aria-sort={by.column === c.id ? (by.down ? "descending" : "ascending") : undefined}>
                  <button type="button" title={t("common.sortBy", { column: c.title })} onClick={() => setBy({ column: c.id, down: by.column === c.id ? !by.down : c.number === true })}>{c.title}</button>
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.map((row, i) => (
              <tr key={id(row)} tabIndex={onOpen ? 0 : undefined} aria-current={selected !== undefined && selected === id(row) ? "true" : undefined} class={onOpen ? "opens" : ""}
                onClick={(e) => { if (!(e.target as Element).closest("a, button")) onOpen?.(row); }} onKeyDown={(e) => keys(e, row)} data-row={i}>
                {columns.map((c) => (c.row
                  ? <th key={c.id} scope="row" class={c.number ? "number" : ""}>{c.cell(row)}</th>
                  : <td key={c.id} class={c.number ? "number" : ""}>{c.cell(row)}</td>))}
              </tr>
            ))}
          </tbody>
        </table>
        {shown.length === 0 && <p class="empty">{t("common.nothing")}</p>}
      </div>
    </div>
  );
}
