// The graph that is shown: from the stream while it is live, asked for when one looks at the past.
import { computed, effect, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { api, type GraphParams } from "../api/client.ts";
import { subscribe } from "../api/stream.ts";
import { applyPatch, fromGraph, type GraphModel } from "../graph/model.ts";
import { namespaces, session, view } from "./store.ts";

export const graph = signal<GraphModel | null>(null);
export const graphError = signal<Error | null>(null);

const params = computed((): GraphParams => ({
  graphType: view.value.type,
  namespaces: namespaces.value,
  duration: view.value.window,
  injectServiceNodes: view.value.show.services,
  includeIdleEdges: view.value.show.idle,
  rateHttp: view.value.rates.http,
  rateGrpc: view.value.rates.grpc,
  rateTcp: view.value.rates.tcp,
}));

/** Of the past, so that dragging back and forth does not ask twice. */
const cache = new Map<string, GraphModel>();
const CACHED = 40;
// Who comes may see other things than who was here.
effect(() => { if (session.value) cache.clear(); });

/** Keeps the graph up to date as long as a page that needs it is there. */
export function useGraph(): void {
  const wanted = JSON.stringify(params.value);
  const at = view.value.at;
  useEffect(() => {
    const asked = JSON.parse(wanted) as GraphParams;
    if (at === null) {
      let model: GraphModel | null = null;
      return subscribe("graph", asked, (patch) => {
        const base: GraphModel = model ?? { graphType: view.peek().type, timestamp: 0, duration: 0, nodes: new Map(), edges: new Map() };
        model = applyPatch(base, patch);
        graphError.value = null;
        graph.value = model;
      });
    }
    const key = `${wanted}@${at}`;
    const known = cache.get(key);
    if (known) { graph.value = known; return; }
    const stop = new AbortController();
    api.graph({ ...asked, at }, stop.signal).then((answer) => {
      if (stop.signal.aborted) return;
      const made = fromGraph(answer);
      if (cache.size >= CACHED) cache.delete(cache.keys().next().value!);
      cache.set(key, made);
      graphError.value = null;
      graph.value = made;
    }, (error: Error) => { if (!stop.signal.aborted) graphError.value = error; });
    return () => stop.abort();
  }, [wanted, at, session.value]);
}
