// The page, once its frame is seen (see start.ts).
import { render } from "preact";
import { preferredLanguage, setLanguage } from "./i18n/index.ts";
import { App } from "./shell/app.tsx";
import { start, startTheme } from "./state/store.ts";

startTheme();
start();
await setLanguage(preferredLanguage());
const root = document.getElementById("app")!;
root.replaceChildren();
render(<App />, root);
