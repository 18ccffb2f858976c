// The frame around the pages. Pages other than the graph are loaded when they are opened.
import type { ComponentType, JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { t } from "../i18n/index.ts";
import { GraphPage } from "../pages/graph.tsx";
import { Problem, Waiting } from "../parts/states.tsx";
import { moment } from "../state/format.ts";
import { follow, info, infoError, view } from "../state/store.ts";
import type { PageName } from "../state/url.ts";
import { SignIn } from "./signin.tsx";
import { Nav } from "./nav.tsx";
import { Timeline } from "./timeline.tsx";
import { Top } from "./top.tsx";

const pages: Record<Exclude<PageName, "graph">, () => Promise<{ default: ComponentType }>> = {
  overview: () => import("../pages/overview.tsx"),
  applications: () => import("../pages/applications.tsx"),
  workloads: () => import("../pages/workloads.tsx"),
  services: () => import("../pages/services.tsx"),
  config: () => import("../pages/config.tsx"),
  logs: () => import("../pages/logs.tsx"),
  traces: () => import("../pages/traces.tsx"),
  explain: () => import("../pages/explain.tsx"),
  mesh: () => import("../pages/mesh.tsx"),
};

export function App(): JSX.Element {
  const { page } = view.value;
  useEffect(() => { document.title = `${t(`nav.${page}`)} · Varka`; });
  return (
    <div class="app" onClick={follow}>
      <a class="skip" href="#content" onClick={(e) => { e.preventDefault(); document.getElementById("content")?.focus(); }}>{t("nav.skip")}</a>
      <Nav />
      <div class="frame">
        <Top />
        <main id="content" class="content" tabIndex={-1}>
          {!info.value && (infoError.value ? <Problem error={infoError.value} /> : <Waiting />)}
          {info.value && (page === "graph" ? <GraphPage /> : <Later key={page} page={page} />)}
        </main>
        <div><PodsOfNow /><Timeline /></div>
      </div>
      <SignIn />
    </div>
  );
}

/** Before it was kept what pods were, they are shown as they are now: that is said wherever the past is looked at. */
function PodsOfNow(): JSX.Element | null {
  const { at } = view.value;
  if (at === null || !info.value) return null;
  const since = info.value.podsSince;
  if (since !== null && at >= since) return null;
  return <p class="notice" role="status">{since === null ? t("time.podsUnknown") : t("time.podsSince", { since: moment(since) })}</p>;
}

function Later({ page }: { page: Exclude<PageName, "graph"> }): JSX.Element {
  const [found, set] = useState<{ Page: ComponentType } | null>(null);
  const [error, fail] = useState<Error | null>(null);
  useEffect(() => { pages[page]().then((m) => set({ Page: m.default }), fail); }, [page]);
  if (error) return <Problem error={error} again={() => location.reload()} />;
  return found ? <found.Page /> : <Waiting />;
}
