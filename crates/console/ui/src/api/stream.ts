// The one stream of events: everything that is live comes through it. The browser connects again by itself and says which
// event it had last; the server goes on from there, or sends everything anew.
import { signal } from "@preact/signals";
import { PREFIX, url } from "./client.ts";
import type { Change, GraphPatch, HealthEvent, LogLine } from "./types.ts";

/** Of a topic so many events before the next one are left out: there were too many at once. */
export interface Gap { topic: "changes" | "logs"; count: number }
export interface Events { graph: GraphPatch; health: HealthEvent; changes: Change; logs: LogLine; gap: Gap }
export const connection = signal<"connecting" | "live" | "lost">("connecting");

type Listener<K extends keyof Events> = (event: Events[K]) => void;
type Params = Record<string, string | number | boolean>;

let source: EventSource | null = null;
let address = "";
/** Of the event that was heard last at this address. */
let last = "";
const wanted = new Map<string, Params>();
const listeners = new Map<keyof Events, Set<(event: never) => void>>();
let pending = false;

/** Asks for a topic until the answer is called. Several topics share one connection; gaps come with their topics. */
export function subscribe<K extends Exclude<keyof Events, "gap">>(topic: K, params: Params, listener: Listener<K>): () => void {
  wanted.set(topic, params);
  const set = add(topic, listener);
  reconnect();
  return () => {
    set.delete(listener as (event: never) => void);
    if (set.size === 0) { wanted.delete(topic); reconnect(); }
  };
}

/** Hears what is left out of the topics that are asked for, until the answer is called. */
export function onGap(listener: Listener<"gap">): () => void {
  const set = add("gap", listener);
  return () => { set.delete(listener as (event: never) => void); };
}

function add<K extends keyof Events>(topic: K, listener: Listener<K>): Set<(event: never) => void> {
  const set = listeners.get(topic) ?? new Set();
  listeners.set(topic, set);
  set.add(listener as (event: never) => void);
  return set;
}

/** Asks anew, as whoever we are now. */
export function reopen(): void {
  source?.close();
  source = null;
  address = "";
  reconnect();
}

/** After what is being done now, so that several changes make one connection. */
function reconnect(): void {
  if (pending) return;
  pending = true;
  queueMicrotask(() => {
    pending = false;
    const params = Object.assign({}, ...wanted.values()) as Params;
    const next = wanted.size ? url(`${PREFIX}/stream`, { topics: [...wanted.keys()].sort().join(","), ...params }) : "";
    if (next === address) return;
    address = next;
    last = "";
    source?.close();
    source = null;
    if (next) open(next);
  });
}

function open(at: string): void {
  connection.value = "connecting";
  const made = new EventSource(last ? `${at}&lastEventId=${encodeURIComponent(last)}` : at);
  source = made;
  made.onopen = () => (connection.value = "live");
  made.onerror = () => {
    connection.value = "lost";
    // A refusal ends an EventSource for good; then we try again ourselves, and say ourselves what was heard last.
    if (made.readyState === EventSource.CLOSED) setTimeout(() => { if (source === made && address === at) open(at); }, 3000);
  };
  for (const topic of ["graph", "health", "changes", "logs", "gap"] as const) {
    made.addEventListener(topic, (event) => {
      last = (event as MessageEvent<string>).lastEventId;
      const data = JSON.parse((event as MessageEvent<string>).data) as never;
      for (const listener of listeners.get(topic) ?? []) listener(data);
    });
  }
}
