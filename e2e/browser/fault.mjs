// Opens the graph of a running system in a real browser, waits until an edge is drawn in a tone, selects it, and prints what the panel
// beside it says: one line of JSON.
//   node fault.mjs URL PLAYWRIGHT SCREENSHOT SOURCE TARGET TONE
// SOURCE and TARGET are ends of the keys of nodes; PLAYWRIGHT is the file of playwright-core; CHROMIUM names another browser than Debian's.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";

const [url, playwright, screenshot, source, target, tone] = process.argv.slice(2);
const { chromium } = await import(pathToFileURL(playwright).href);
mkdirSync(dirname(screenshot), { recursive: true });
const profile = mkdtempSync(join(tmpdir(), "console-e2e-"));
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  headless: true,
  args: ["--headless", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--disable-background-networking", "--no-first-run"],
  viewport: { width: 1400, height: 850 },
});
const problems = [];
const find = ([source, target, tone]) => {
  const ends = (key, name) => key === name || key.endsWith(`_${name}`);
  return window.__graph?.edges.find((e) => ends(e.source, source) && ends(e.target, target) && e.tone === tone)?.id;
};
try {
  const page = context.pages()[0] ?? await context.newPage();
  page.setDefaultTimeout(60_000);
  page.on("pageerror", (error) => problems.push(error.message));
  await page.goto(`${url}/console/graph?window=60`);
  await page.waitForFunction(find, [source, target, tone]).catch(async (error) => {
    throw new Error(`${error.message}: ${JSON.stringify(await page.evaluate(() => window.__graph?.edges))}`);
  });
  const edge = await page.evaluate(find, [source, target, tone]);
  await page.goto(`${url}/console/graph?window=60&sel=${encodeURIComponent(edge)}`);
  await page.locator("#panel h2.route").waitFor();
  const panel = await page.locator("#panel").innerText();
  await page.screenshot({ path: screenshot });
  console.log(JSON.stringify({ panel, problems }));
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
