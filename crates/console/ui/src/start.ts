// Starts the page. Its frame, which stands in the page itself, is seen first: in a browser that has just been opened, whatever is begun
// before takes the processor from what brings the first picture to the screen. Nobody waits for a picture of what is hidden.
import { keptTheme, wear } from "./state/theme.ts";

declare const MAIN: string;

wear(keptTheme());
const begin = (): void => { void import(MAIN); };
if (document.hidden) begin();
else requestAnimationFrame(() => setTimeout(begin));
