// A trace as a tree, with what takes the time: the critical path, the share of each service, and the difference of two. Pure.
import type { Span, Trace } from "../api/jaeger.ts";

export interface Row {
  span: Span;
  service: string;
  depth: number;
  children: Row[];
  parent: Row | null;
  error: boolean;
  /** Microseconds in which no child of it ran. */
  own: number;
}

export interface Tree { rows: Row[]; roots: Row[]; start: number; duration: number; services: string[]; errors: number }

export const tagOf = (span: Span, ...keys: string[]): string => {
  for (const key of keys) { const tag = span.tags.find((t) => t.key === key); if (tag) return String(tag.value); }
  return "";
};

/** What a span asked of a database, and of which kind. */
export function statementOf(span: Span): { system: string; text: string } | null {
  const text = tagOf(span, "db.statement", "db.query.text");
  return text ? { system: tagOf(span, "db.system", "db.system.name"), text } : null;
}

export interface Asked { method: string; path: string; code: string; flags: string }

/** What was asked for and what was answered, where a span is of a request; a gRPC's code is gRPC's. */
export function askedOf(span: Span): Asked | null {
  const method = tagOf(span, "http.method", "http.request.method");
  const url = tagOf(span, "http.url", "url.full", "http.target", "url.path");
  if (!method && !url) return null;
  const flags = tagOf(span, "response_flags");
  const code = tagOf(span, "grpc.status_code", "rpc.grpc.status_code", "http.status_code", "http.response.status_code");
  return { method, path: url.replace(/^\w+:\/\/[^/]*/, "") || "/", code: code === "0" && !tagOf(span, "grpc.status_code", "rpc.grpc.status_code") ? "–" : code, flags: flags === "-" ? "" : flags };
}

export function tree(trace: Trace): Tree {
  const rows = new Map<string, Row>();
  for (const span of trace.spans) {
    const code = tagOf(span, "http.status_code", "http.response.status_code");
    const error = tagOf(span, "error") === "true" || /^5/.test(code);
    rows.set(span.spanID, { span, service: trace.processes[span.processID]?.serviceName ?? "", depth: 0, children: [], parent: null, error, own: 0 });
  }
  const roots: Row[] = [];
  for (const row of rows.values()) {
    const parent = row.span.references.map((r) => rows.get(r.spanID)).find((p) => p !== undefined && p !== row) ?? null;
    // A cycle of references would never be drawn: whoever closes it is a root.
    if (parent && !isAbove(row, parent)) { row.parent = parent; parent.children.push(row); } else roots.push(row);
  }
  const byTime = (a: Row, b: Row): number => a.span.startTime - b.span.startTime || a.span.spanID.localeCompare(b.span.spanID);
  const flat: Row[] = [];
  const visit = (row: Row, depth: number): void => {
    row.depth = depth;
    flat.push(row);
    row.children.sort(byTime);
    row.own = row.span.duration - covered(row);
    for (const child of row.children) visit(child, depth + 1);
  };
  roots.sort(byTime).forEach((r) => visit(r, 0));
  const start = Math.min(...trace.spans.map((s) => s.startTime));
  const end = Math.max(...trace.spans.map((s) => s.startTime + s.duration));
  return { rows: flat, roots, start, duration: end - start, services: [...new Set(flat.map((r) => r.service))], errors: flat.filter((r) => r.error).length };
}

function isAbove(row: Row, of: Row): boolean {
  for (let r: Row | null = of; r; r = r.parent) if (r === row) return true;
  return false;
}

const endOf = (row: Row): number => row.span.startTime + row.span.duration;

/** Microseconds of a span in which at least one child ran. */
function covered(row: Row): number {
  let sum = 0;
  let until = row.span.startTime;
  for (const child of row.children) {
    const from = Math.max(until, child.span.startTime);
    const to = Math.min(endOf(child), endOf(row));
    if (to > from) { sum += to - from; until = to; }
  }
  return sum;
}

export interface Piece { row: Row; from: number; to: number }

/** What had to be waited for, backwards from the end: the child that ended last, then what it waited for, and so on. */
export function criticalPath(of: Tree): Piece[] {
  const pieces: Piece[] = [];
  const walk = (row: Row, from: number, to: number): void => {
    let until = to;
    const children = [...row.children].sort((a, b) => endOf(b) - endOf(a));
    for (const child of children) {
      const start = Math.max(child.span.startTime, from);
      const end = Math.min(endOf(child), until);
      if (start >= until || end <= start) continue;
      if (until > end) pieces.push({ row, from: end, to: until });
      walk(child, start, end);
      until = start;
    }
    if (until > from) pieces.push({ row, from, to: until });
  };
  const root = of.roots[0];
  if (root) walk(root, root.span.startTime, endOf(root));
  return pieces.sort((a, b) => a.from - b.from);
}

export interface Hop { service: string; operation: string; statement: string; asked: Asked | null; calls: number; total: number; own: number; critical: number; errors: number }

/** One row for each service and operation, the costliest on the critical path first. */
export function hops(of: Tree): Hop[] {
  const found = new Map<string, Hop>();
  const hop = (row: Row): Hop => {
    const key = `${row.service}\0${row.span.operationName}`;
    return found.get(key) ?? found.set(key, { service: row.service, operation: row.span.operationName, statement: statementOf(row.span)?.text ?? "", asked: askedOf(row.span), calls: 0, total: 0, own: 0, critical: 0, errors: 0 }).get(key)!;
  };
  for (const row of of.rows) {
    const h = hop(row);
    h.calls++;
    h.total += row.span.duration;
    h.own += row.own;
    h.errors += Number(row.error);
    // Of several calls the one that failed is what one looks for.
    if (row.error && h.errors === 1) h.asked = askedOf(row.span);
  }
  for (const piece of criticalPath(of)) hop(piece.row).critical += piece.to - piece.from;
  return [...found.values()].sort((a, b) => b.critical - a.critical || b.own - a.own);
}

export interface Difference { service: string; operation: string; a: Hop | null; b: Hop | null; delta: number }

/** Where the time of two traces differs, the largest difference first. */
export function compare(a: Tree, b: Tree): Difference[] {
  const [left, right] = [hops(a), hops(b)];
  const keys = new Set([...left, ...right].map((h) => `${h.service}\0${h.operation}`));
  return [...keys].map((key) => {
    const [service, operation] = key.split("\0");
    const of = (list: Hop[]): Hop | null => list.find((h) => h.service === service && h.operation === operation) ?? null;
    const [x, y] = [of(left), of(right)];
    return { service, operation, a: x, b: y, delta: (y?.own ?? 0) - (x?.own ?? 0) };
  }).sort((x, y) => Math.abs(y.delta) - Math.abs(x.delta));
}
