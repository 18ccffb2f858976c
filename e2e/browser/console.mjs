// Opens the console of a running system in a real browser and prints what it draws: one line of JSON.
//   node console.mjs URL PLAYWRIGHT SCREENSHOTS
// PLAYWRIGHT is the file of playwright-core; CHROMIUM names another browser than Debian's.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [url, playwright, screenshots] = process.argv.slice(2);
const { chromium } = await import(pathToFileURL(playwright).href);
mkdirSync(screenshots, { recursive: true });
const profile = mkdtempSync(join(tmpdir(), "console-e2e-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: ["--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking", "--no-first-run"],
  viewport: { width: 1400, height: 850 },
});
const problems = [];
const hosts = new Set();
try {
  const page = context.pages()[0] ?? await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => problems.push(error.message));
  page.on("request", (request) => hosts.add(new URL(request.url()).host));
  await page.goto(`${url}/console/graph`);
  await page.waitForFunction(() => window.__graph?.edges.length >= 6 && document.querySelector(".graph-host")?.dataset.placed === "true");
  const graph = await page.evaluate(() => window.__graph);
  await page.screenshot({ path: join(screenshots, "graph.png") });
  for (const name of ["overview", "workloads", "services", "config", "logs", "traces", "mesh"]) {
    await page.goto(`${url}/console/${name}`);
    await page.locator("h1").first().waitFor();
    await page.waitForLoadState("networkidle").catch(() => {});
    await page.screenshot({ path: join(screenshots, `${name}.png`) });
  }
  console.log(JSON.stringify({ graph, problems, hosts: [...hosts] }));
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
