// Asks the worker for a layout; only the newest answer counts. Where workers are not allowed, the page does it itself.
import { layout, type Layout, type LayoutInput } from "./layout.ts";

declare const LAYOUT_WORKER: string;

let worker: Worker | null = null;
let last = 0;
const waiting = new Map<number, (layout: Layout) => void>();

export function arrange(input: LayoutInput): Promise<Layout> {
  if (!worker && typeof Worker !== "undefined") {
    try {
      worker = new Worker(`assets/${LAYOUT_WORKER}`);
      worker.onmessage = (event: MessageEvent<{ id: number; layout: Layout }>) => {
        waiting.get(event.data.id)?.(event.data.layout);
        waiting.delete(event.data.id);
      };
    } catch { worker = null; }
  }
  if (!worker) return Promise.resolve(layout(input));
  const id = ++last;
  const busy = worker;
  return new Promise((resolve) => {
    waiting.clear();
    waiting.set(id, resolve);
    busy.postMessage({ id, input });
  });
}
