// Takes pictures of pages against the mock server: `node scripts/shots.mjs DIR NAME=PATH[?QUERY]…`. For looking at, not a test.
import { mkdirSync } from "node:fs";
import { browse } from "../tests/browser/harness.mjs";

const [dir, ...wanted] = process.argv.slice(2);
mkdirSync(dir, { recursive: true });
const options = { scenario: process.env.SCENARIO ?? "story", dark: process.env.DARK === "1", language: process.env.LANGUAGE ?? "en", width: Number(process.env.WIDTH ?? 1440), height: Number(process.env.HEIGHT ?? 900), reducedMotion: process.env.MOTION ? 'no-preference' : 'reduce' };
const { page, mock, close } = await browse(options);
page.on("console", (m) => { if (["error", "warning"].includes(m.type())) console.log(m.type(), m.text()); });
page.on("pageerror", (e) => console.log("page error", e.message));
for (const shot of wanted) {
  const [name, ...rest] = shot.split("=");
  await page.goto(mock.url + rest.join("="));
  await page.waitForTimeout(Number(process.env.WAIT ?? 1800));
  if (process.env.CLICK) { await page.click(process.env.CLICK); await page.waitForTimeout(500); }
  await page.screenshot({ path: `${dir}/${name}.png`, timeout: 120_000 });
}
await close();
