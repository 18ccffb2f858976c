// Opens the graph of a running system in a real browser, waits until an edge is drawn in a tone, selects it, and prints what the panel
// beside it says: one line of JSON.
//   node fault.mjs URL PLAYWRIGHT SCREENSHOT SOURCE TARGET TONE
// SOURCE and TARGET are ends of the keys of nodes.
import { mkdirSync } from "node:fs";
import { dirname } from "node:path";
import { open } from "./open.mjs";

const [url, playwright, screenshot, source, target, tone] = process.argv.slice(2);
mkdirSync(dirname(screenshot), { recursive: true });
const find = ([source, target, tone]) => {
  const ends = (key, name) => key === name || key.endsWith(`_${name}`);
  return window.__graph?.edges.find((e) => ends(e.source, source) && ends(e.target, target) && e.tone === tone)?.id;
};
const seen = await open(playwright, async (page) => {
  await page.goto(`${url}/console/graph?window=60`);
  await page.waitForFunction(find, [source, target, tone]).catch(async (error) => {
    throw new Error(`${error.message}: ${JSON.stringify(await page.evaluate(() => window.__graph?.edges))}`);
  });
  const edge = await page.evaluate(find, [source, target, tone]);
  await page.goto(`${url}/console/graph?window=60&sel=${encodeURIComponent(edge)}`);
  await page.locator("#panel h2.route").waitFor();
  const panel = await page.locator("#panel").innerText();
  await page.screenshot({ path: screenshot });
  return { panel };
});
console.log(JSON.stringify(seen));
