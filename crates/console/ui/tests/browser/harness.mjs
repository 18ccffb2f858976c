// A browser, a mock server and a page. Debian's chromium; CHROMIUM names another one.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { serve } from "../../mock/server.mjs";

export async function browse({ scenario = "story", dark = false, language = "en", width = 1360, height = 860, reducedMotion = "no-preference", readOnly = false, mode = "anonymous", mustSignIn = false, interval = 2 } = {}) {
  const mock = await serve({ scenario, readOnly, mode, mustSignIn, interval });
  const profile = mkdtempSync(join(tmpdir(), "console-browser-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    headless: true,
    args: ["--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking", "--no-first-run"],
    viewport: { width, height }, colorScheme: dark ? "dark" : "light", locale: language === "ko" ? "ko-KR" : "en-GB", reducedMotion,
  });
  const page = context.pages()[0] ?? await context.newPage();
  page.setDefaultTimeout(Number(process.env.PATIENCE ?? 90_000));
  const problems = [];
  const hosts = new Set();
  page.on("pageerror", (e) => problems.push(e.message));
  page.on("request", (r) => { const u = new URL(r.url()); if (u.protocol.startsWith("http")) hosts.add(u.host); });
  return { page, mock, context, problems, hosts, close: async () => { await context.close(); await mock.close(); rmSync(profile, { recursive: true, force: true }); } };
}

/** What is drawn, once all of it has been laid out. */
export async function graph(page) {
  await page.waitForFunction(() => window.__graph && window.__graph.nodes.length > 0 && document.querySelector(".graph-host")?.dataset.placed === "true");
  return page.evaluate(() => window.__graph);
}

export const node = (g, name, shape) => g.nodes.find((n) => n.name === name && (!shape || n.shape === shape));
