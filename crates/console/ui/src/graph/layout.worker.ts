// Lays a graph out beside the page's own thread.
import { layout, type LayoutInput } from "./layout.ts";

self.onmessage = (event: MessageEvent<{ id: number; input: LayoutInput }>) => {
  self.postMessage({ id: event.data.id, layout: layout(event.data.input) });
};
