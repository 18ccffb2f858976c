// Kiali's find/hide language, with parentheses: `! healthy and (rt > 500 or %httperr > 5)`.
//
// As in Kiali, OR binds tighter than AND unless parentheses say otherwise. An operand speaks of nodes or of edges; asked of
// the other kind it is neither true nor false, so that `! mtls` finds no node. Pure: a parser and an evaluator.
import type { Edge, Node } from "../api/types.ts";
import { errorsOf, hasTraffic, nodeName, requestsIn, statusOf } from "./model.ts";

export type Op = "=" | "!=" | ">" | ">=" | "<" | "<=" | "contains" | "startswith" | "endswith";

export type Expr =
  | { is: "and" | "or"; of: Expr[] }
  | { is: "not"; of: Expr }
  | { is: "unary"; operand: string; target: Target }
  | { is: "compare"; operand: string; label?: string; target: Target; op: Op; value: string; negated: boolean };

type Target = "node" | "edge";

/** What is wrong, and where in the text. The words are in the catalogue of messages: `find.error.CODE`. */
export class FindError extends Error {
  constructor(
    readonly code: "operand" | "operator" | "value" | "number" | "parenthesis" | "end" | "mixed",
    readonly at: number,
    readonly word: string,
  ) {
    super(`${code} at ${at}: ${word}`);
  }
}

/** What an element must know to be asked. */
export interface Context {
  rank: Map<string, number>;
  /** Rates of a source over all of its edges of a protocol, for `%httptraffic`. */
  outgoing: (key: string, protocol: "http" | "grpc") => number;
  nodes: Map<string, Node>;
}

const aliases: Record<string, string> = {
  ns: "namespace", svc: "service", wl: "workload", op: "operation", cb: "circuitbreaker", fi: "faultinjection",
  rr: "requestrouting", rto: "requesttimeout", om: "outofmesh", se: "serviceentry", ts: "trafficshifting",
  vs: "virtualservice", we: "workloadentry", rt: "responsetime",
};

type Value = string | number | string[];
type NodeGetter = (n: Node, c: Context, label: string) => Value;
type EdgeGetter = (e: Edge, c: Context) => Value;

const rateIn = (n: Node, p: "http" | "grpc" | "tcp"): number => n.traffic[p].incoming.total || NaN;
const rateOut = (n: Node, p: "http" | "grpc" | "tcp"): number => n.traffic[p].outgoing.total || NaN;
const percent = (part: number, whole: number): number => (whole > 0 ? (100 * part) / whole : NaN);
const of = (e: Edge, p: string): number => (e.protocol === p && e.rates.total > 0 ? e.rates.total : NaN);

const nodeOperands: Record<string, NodeGetter> = {
  app: (n) => n.app,
  cluster: (n) => n.cluster,
  grpcin: (n) => rateIn(n, "grpc"),
  grpcout: (n) => rateOut(n, "grpc"),
  httpin: (n) => rateIn(n, "http"),
  httpout: (n) => rateOut(n, "http"),
  tcpin: (n) => rateIn(n, "tcp"),
  tcpout: (n) => rateOut(n, "tcp"),
  label: (n, _, label) => n.labels[label] ?? (label === "app" ? n.app : label === "version" ? n.version : ""),
  // As in Kiali, a name is any of the node's names.
  name: (n) => [nodeName(n), n.app, n.workload, n.service, n.aggregate?.[1] ?? ""].filter((s) => s !== ""),
  namespace: (n) => n.namespace,
  node: (n) => n.kind,
  operation: (n) => n.aggregate?.[1] ?? "",
  rank: (n, c) => c.rank.get(n.key) ?? NaN,
  service: (n) => [n.service, ...n.services.map((s) => s.name)].filter((s) => s !== ""),
  version: (n) => n.version,
  workload: (n) => n.workload,
};

const nodeFlags: Record<string, (n: Node) => boolean> = {
  circuitbreaker: (n) => n.badges.circuitBreaker,
  faultinjection: (n) => n.badges.faultInjection,
  healthy: (n) => ["Healthy", "NA"].includes(statusOf(n.health)),
  idle: (n) => n.idle !== null || !hasTraffic(n),
  mirroring: (n) => n.badges.mirroring,
  outside: (n) => n.outside,
  requestrouting: (n) => n.badges.requestRouting,
  requesttimeout: (n) => n.badges.requestTimeout,
  outofmesh: (n) => n.outOfMesh,
  serviceentry: (n) => n.serviceEntry !== null,
  tcptrafficshifting: (n) => n.badges.tcpTrafficShifting,
  trafficshifting: (n) => n.badges.trafficShifting,
  trafficsource: (n) => n.root,
  virtualservice: (n) => n.badges.virtualService !== null,
  workloadentry: (n) => n.badges.workloadEntries.length > 0,
};

const edgeOperands: Record<string, EdgeGetter> = {
  destprincipal: (e) => e.security?.destinationPrincipal ?? "",
  sourceprincipal: (e) => e.security?.sourcePrincipal ?? "",
  http: (e) => of(e, "http"),
  grpc: (e) => of(e, "grpc"),
  tcp: (e) => of(e, "tcp"),
  "%httperr": (e) => (e.protocol === "http" ? percent(errorsOf(e.rates), e.rates.total) : NaN),
  "%grpcerr": (e) => (e.protocol === "grpc" ? percent(errorsOf(e.rates), e.rates.total) : NaN),
  "%httptraffic": (e, c) => (e.protocol === "http" ? percent(e.rates.total, c.outgoing(e.source, "http")) : NaN),
  "%grpctraffic": (e, c) => (e.protocol === "grpc" ? percent(e.rates.total, c.outgoing(e.source, "grpc")) : NaN),
  mtls: (e) => (e.security ? 100 * e.security.mtls : NaN),
  protocol: (e) => e.protocol,
  responsetime: (e) => e.responseTimes?.p95 ?? NaN,
  throughput: (e) => (e.throughput ? e.throughput.request + e.throughput.response : NaN),
};

const edgeFlags: Record<string, (e: Edge) => boolean> = {
  mtls: (e) => (e.security?.mtls ?? 0) > 0,
  traffic: (e) => e.rates.total > 0,
};

/** All operands, for help and completion. */
export const operands = {
  node: Object.keys(nodeOperands),
  nodeFlags: Object.keys(nodeFlags),
  edge: Object.keys(edgeOperands),
  edgeFlags: Object.keys(edgeFlags),
};

interface Token { text: string; at: number; quoted: boolean }

const symbols = ["!=", "!>", "!<", "!*=", "!^=", "!$=", ">=", "<=", "*=", "^=", "$=", "=", ">", "<", "!", "(", ")"];
symbols.sort((a, b) => b.length - a.length);

function tokens(text: string): Token[] {
  const found: Token[] = [];
  let at = 0;
  while (at < text.length) {
    const c = text[at];
    if (/\s/.test(c)) { at++; continue; }
    if (c === '"' || c === "'") {
      const end = text.indexOf(c, at + 1);
      if (end < 0) throw new FindError("end", at, text.slice(at));
      found.push({ text: text.slice(at + 1, end), at, quoted: true });
      at = end + 1;
      continue;
    }
    const symbol = symbols.find((s) => text.startsWith(s, at));
    if (symbol) {
      found.push({ text: symbol, at, quoted: false });
      at += symbol.length;
      continue;
    }
    const word = /^[^\s()=<>!"'^$*]+(?:\*(?!=)|[^\s()=<>!"'^$*])*/.exec(text.slice(at))?.[0] ?? c;
    found.push({ text: word, at, quoted: false });
    at += word.length;
  }
  return found;
}

const ops: Record<string, Op> = {
  "=": "=", "!=": "!=", ">": ">", ">=": ">=", "<": "<", "<=": "<=", "*=": "contains", "^=": "startswith",
  "$=": "endswith", contains: "contains", startswith: "startswith", endswith: "endswith",
};

/** Reads an expression; empty text is null. */
export function parse(text: string): Expr | null {
  const list = tokens(text);
  let next = 0;
  const peek = (): string => (list[next] && !list[next].quoted ? list[next].text.toLowerCase() : "");
  const place = (): number => list[next]?.at ?? text.length;

  const chain = (word: "and" | "or", inner: () => Expr): Expr => {
    const parts = [inner()];
    while (peek() === word) { next++; parts.push(inner()); }
    return parts.length === 1 ? parts[0] : { is: word, of: parts };
  };
  const expression = (): Expr => {
    const at = place();
    const found = chain("and", () => chain("or", factor));
    if (found.is === "and" && new Set(found.of.map(targetOf).filter((t) => t !== "both")).size > 1) {
      throw new FindError("mixed", at, "and");
    }
    return found;
  };
  const factor = (): Expr => {
    let negated = false;
    while (["!", "not", "is", "has"].includes(peek())) {
      if (peek() === "!" || peek() === "not") negated = !negated;
      next++;
    }
    const inner = peek() === "(" ? group() : predicate();
    return negated ? { is: "not", of: inner } : inner;
  };
  const group = (): Expr => {
    const at = place();
    next++;
    const inner = expression();
    if (peek() !== ")") throw new FindError("parenthesis", at, "(");
    next++;
    return inner;
  };
  const predicate = (): Expr => {
    const token = list[next];
    if (!token) throw new FindError("end", text.length, "");
    next++;
    const [head, label] = splitLabel(token.text);
    const operand = aliases[head] ?? head;
    const op = operator();
    if (op === null) {
      if (operand in nodeFlags) return { is: "unary", operand, target: "node" };
      if (operand in edgeFlags) return { is: "unary", operand, target: "edge" };
      if (operand in nodeOperands || operand in edgeOperands) throw new FindError("operator", place(), token.text);
      throw new FindError("operand", token.at, token.text);
    }
    const target: Target | null = operand in nodeOperands ? "node" : operand in edgeOperands ? "edge" : null;
    if (!target) throw new FindError("operand", token.at, token.text);
    const value = list[next];
    if (!value || (!value.quoted && ["(", ")"].includes(value.text))) throw new FindError("value", place(), token.text);
    next++;
    const compare: Expr = { is: "compare", operand, label, target, op: op.op, value: value.text, negated: op.negated };
    if (["<", ">", "<=", ">="].includes(op.op) && Number.isNaN(number(value.text))) {
      throw new FindError("number", value.at, value.text);
    }
    return compare;
  };
  const operator = (): { op: Op; negated: boolean } | null => {
    const start = next;
    let negated = false;
    let word = peek();
    if (word === "not" || word === "!") { negated = true; next++; word = peek(); }
    if (word.length > 1 && word.startsWith("!") && word !== "!=") { negated = true; word = word.slice(1); }
    const op = ops[word];
    if (!op) { next = start; return null; }
    next++;
    return { op, negated };
  };

  if (list.length === 0) return null;
  const found = expression();
  if (next < list.length) throw new FindError(peek() === ")" ? "parenthesis" : "operator", place(), list[next].text);
  return found;
}

function splitLabel(word: string): [string, string | undefined] {
  const match = /^label:(.+)$/i.exec(word);
  return match ? ["label", match[1]] : [word.toLowerCase(), undefined];
}

function targetOf(e: Expr): Target | "both" {
  if (e.is === "not") return targetOf(e.of);
  if (e.is === "unary" || e.is === "compare") return e.target;
  const all = new Set(e.of.map(targetOf));
  return all.size === 1 ? [...all][0] : "both";
}

/** A number, maybe with a unit: `1.5k`, `20%`, `300ms`. */
function number(text: string): number {
  const match = /^(-?\d+(?:\.\d+)?)([km]?)(?:%|ms|rps|bps)?$/i.exec(text);
  if (!match) return NaN;
  return Number(match[1]) * ({ k: 1e3, m: 1e6 }[match[2].toLowerCase()] ?? 1);
}

/** True, false, or null: the expression does not speak of such a thing. */
type Truth = boolean | null;

function evaluate(e: Expr, ask: (leaf: Expr & { is: "unary" | "compare" }) => Truth): Truth {
  switch (e.is) {
    case "and": {
      const all = e.of.map((part) => evaluate(part, ask));
      return all.includes(null) ? null : all.every(Boolean);
    }
    case "or": {
      const all = e.of.map((part) => evaluate(part, ask));
      return all.includes(true) ? true : all.every((t) => t === null) ? null : false;
    }
    case "not": {
      const inner = evaluate(e.of, ask);
      return inner === null ? null : !inner;
    }
    default:
      return ask(e);
  }
}

function compare(value: Value, op: Op, wanted: string, negated: boolean): boolean {
  const one = (v: string | number): boolean => {
    if (typeof v === "number") {
      if (/^nan$/i.test(wanted)) return op === "!=" ? !Number.isNaN(v) : Number.isNaN(v);
      const w = number(wanted);
      switch (op) {
        case "=": return v === w;
        case "!=": return v !== w;
        case ">": return v > w;
        case ">=": return v >= w;
        case "<": return v < w;
        case "<=": return v <= w;
        default: return false;
      }
    }
    const [a, b] = [v.toLowerCase(), wanted.toLowerCase()];
    switch (op) {
      case "=": return a === b;
      case "contains": return a.includes(b);
      case "startswith": return a.startsWith(b);
      case "endswith": return a.endsWith(b);
      default: return false;
    }
  };
  const list = Array.isArray(value) ? value : [value];
  // `!=` of several names: none of them.
  const found = op === "!=" && typeof list[0] !== "number"
    ? !list.some((v) => String(v).toLowerCase() === wanted.toLowerCase())
    : list.some(one);
  return negated ? !found : found;
}

export function matchesNode(e: Expr, node: Node, context: Context): boolean {
  return evaluate(e, (leaf) => {
    if (leaf.target !== "node") return null;
    if (leaf.is === "unary") return nodeFlags[leaf.operand](node);
    return compare(nodeOperands[leaf.operand](node, context, leaf.label ?? ""), leaf.op, leaf.value, leaf.negated);
  }) === true;
}

export function matchesEdge(e: Expr, edge: Edge, context: Context): boolean {
  return evaluate(e, (leaf) => {
    if (leaf.target !== "edge") return null;
    if (leaf.is === "unary") return edgeFlags[leaf.operand](edge);
    return compare(edgeOperands[leaf.operand](edge, context), leaf.op, leaf.value, leaf.negated);
  }) === true;
}

/** What elements may be asked about, from the nodes and edges that are there. */
export function contextOf(nodes: Map<string, Node>, rank: Map<string, number>): Context {
  return { nodes, rank, outgoing: (key, protocol) => {
    const node = nodes.get(key);
    if (!node) return 0;
    return protocol === "http" ? node.traffic.http.outgoing.total : requestsIn(node, "outgoing").total - node.traffic.http.outgoing.total;
  } };
}
