// What a change would do to requests, told before it is applied.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browse } from "./harness.mjs";

let it;
before(async () => { it = await browse({ reducedMotion: "reduce" }); });
after(async () => { assert.deepEqual(it.problems, [], "no script failed"); await it.close(); });

async function review(kind, name, change) {
  await it.page.goto(`${it.mock.url}/console/config/blog-system/${kind}/${name}`);
  const content = it.page.locator(".cm-content").first();
  await content.waitFor();
  await content.click();
  await it.page.keyboard.press("Control+a");
  await it.page.keyboard.insertText(change(it.mock.context.config.object("blog-system", kind, name, Date.now() / 1000).yaml));
  await it.page.getByRole("button", { name: "Review changes" }).first().click();
  return it.page.getByRole("region", { name: "What it would have done" });
}

test("where requests would go, with the share and the rule that says so, and what cannot be said", async () => {
  const effect = await review("VirtualService", "web-vsvc", (yaml) => yaml.replace("weight: 90", "weight: 50").replace("weight: 10\n", "weight: 50\n"));
  // The weights are somebody else's.
  await it.page.getByRole("button", { name: "Review taking them over" }).click();
  await effect.getByText("Of about 1.24k requests of the last 10 m,").waitFor();
  const moved = effect.locator(".effect-group[data-kind=rerouted]");
  assert.match(await moved.innerText(), /600 would go to web-service\.blog-system \(canary\) instead of web-service\.blog-system \(stable\)\. \(50\s?% of these\)/);
  const by = moved.getByRole("link", { name: "VirtualService blog-system/web-vsvc" });
  assert.match(await by.getAttribute("href"), /\/console\/config\/blog-system\/VirtualService\/web-vsvc/);
  assert.match(await moved.innerText(), /spec\.http\[0\], line 8/);
  await effect.getByText("12 requests were counted where none was recorded").waitFor();
  await effect.getByText("124 of them were recorded").waitFor();
});
