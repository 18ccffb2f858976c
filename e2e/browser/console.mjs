// Opens the console of a running system in a real browser and prints what it draws: one line of JSON.
//   node console.mjs URL PLAYWRIGHT SCREENSHOTS
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { open } from "./open.mjs";

const [url, playwright, screenshots] = process.argv.slice(2);
mkdirSync(screenshots, { recursive: true });
const hosts = new Set();
const seen = await open(playwright, async (page) => {
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
  return { graph };
});
console.log(JSON.stringify({ ...seen, hosts: [...hosts] }));
