// What the whole page knows: where it is, what the server is, which time it looks at.
import { computed, effect, signal } from "@preact/signals";
import { api, stranger } from "../api/client.ts";
import { reopen } from "../api/stream.ts";
import { t } from "../i18n/index.ts";
import type { Access, Info } from "../api/types.ts";
import { keptTheme, type Theme, wear } from "./theme.ts";
import { defaults, format, parse, type View } from "./url.ts";

export const view = signal<View>(defaults());
export const info = signal<Info | null>(null);
export const infoError = signal<Error | null>(null);
const unknown: Access = { mode: "anonymous", user: null, readOnly: true, why: "", code: "" };
/** Who we are to the server; until it has said so, nobody. */
export const access = computed(() => info.value?.access ?? unknown);
/** Why nothing can be changed; the server's own words where there are none here. */
export const whyReadOnly = computed(() => {
  const { code, why } = access.value;
  if (code === "readOnly") return t("top.readOnly.started");
  return code === "signedOut" ? t("top.readOnly.signIn") : why || t("top.readOnly.why");
});
/** The server's clock minus ours, in milliseconds. */
const offset = signal(0);
/** Whether to ask who somebody is: they wish it, or the server does. */
export const asking = signal(false);
/** Grows when we are somebody else: then what was loaded is asked for again. */
export const session = signal(0);
/** Ticks once a second while somebody looks. */
export const tick = signal(0);

/** Now, by the server's clock, in whole seconds. */
export const now = (): number => Math.floor((Date.now() + offset.peek()) / 1000);
export const liveNow = computed(() => (tick.value, Math.floor((Date.now() + offset.value) / 1000)));
/** The same, moving on every ten seconds: for what is asked for again and again, and need not be drawn anew each second. */
export const liveTurn = computed(() => Math.floor(liveNow.value / 10) * 10);
/** The moment that is looked at, within ten seconds. */
export const moment = computed(() => view.value.at ?? liveTurn.value);
export const namespaces = computed(() => view.value.namespaces.join(","));

/** Goes to another view. A step that one would want to take back makes an entry of the history. */
export function go(change: Partial<View>, how: "push" | "replace" = "replace"): void {
  const next = { ...view.peek(), ...change };
  const address = format(next);
  if (address === location.pathname + location.search) { view.value = next; return; }
  history[how === "push" ? "pushState" : "replaceState"](null, "", address);
  view.value = next;
}

/** The address of another view of the same time and namespaces: for links, so that they can be opened beside. */
export function href(change: Partial<View>): string {
  const v = view.value;
  return format({ ...defaults(), namespaces: v.namespaces, window: v.window, span: v.span, at: v.at, play: v.play, replay: v.replay, speed: v.speed, type: v.type, rates: v.rates, ...change });
}

/** Follows a link of our own without loading the page again. */
export function follow(event: MouseEvent): void {
  const link = (event.target as Element).closest?.("a");
  if (!link || event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || link.target) return;
  const to = new URL(link.href);
  if (to.origin !== location.origin || !to.pathname.startsWith("/console/") || to.pathname.startsWith("/console/api/") || link.hasAttribute("download")) return;
  // A place on this very page is the browser's.
  if (to.hash && to.pathname === location.pathname) return;
  event.preventDefault();
  history.pushState(null, "", to.pathname + to.search);
  read();
  document.getElementById("content")?.scrollTo(0, 0);
}

function read(): void {
  view.value = parse(location.pathname, location.search);
}

export function start(): void {
  read();
  addEventListener("popstate", read);
  setInterval(() => { if (!document.hidden) tick.value++; }, 1000);
  // Asked once: who would rather not finds the way in at the head of the page.
  effect(() => { if (stranger.value) asking.value = true; });
  void keepLearning();
}

async function learn(): Promise<void> {
  const got = await api.info();
  offset.value = got.now - Date.now();
  info.value = got;
  infoError.value = null;
}

/** Namespaces come and go. */
async function keepLearning(): Promise<void> {
  try {
    await learn();
    setTimeout(() => void keepLearning(), 60_000);
  } catch (error) {
    infoError.value = error as Error;
    setTimeout(() => void keepLearning(), 3000);
  }
}

/** Somebody has come or gone: everything is asked for again. */
export async function signedIn(): Promise<void> {
  await learn();
  asking.value = false;
  stranger.value = false;
  session.value++;
  reopen();
}

export const theme = signal<Theme>("auto");

export function startTheme(): void {
  theme.value = keptTheme();
  effect(() => {
    wear(theme.value);
    try { localStorage.setItem("theme", theme.value); } catch { /* private mode */ }
  });
}

/** Key of a node of the graph, as the server makes it (`telemetry::graph::key`). */
export const nodeKey = (prefix: "wl" | "svc" | "app" | "vapp", namespace: string, name: string): string =>
  `${prefix}_${info.value?.cluster ?? ""}_${namespace}_${name}`;
