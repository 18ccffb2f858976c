// Starts the page. Its frame, which stands in the page itself, is seen first: in a browser that has just been opened, whatever is begun
// before takes the processor from what brings the first picture to the screen. Nobody waits for a picture of what is hidden.
import { keptTheme, wear } from "./state/theme.ts";

declare const MAIN: string;

wear(keptTheme());
const begin = (): void => { void import(MAIN); };
if (document.hidden) begin();
else {
  new PerformanceObserver(begin).observe({ type: "paint", buffered: true });
  // Where the browser does not tell of it, or covers the page before it comes to it. What has begun begins only once.
  requestAnimationFrame(() => setTimeout(begin, 1000));
  document.addEventListener("visibilitychange", begin, { once: true });
}
