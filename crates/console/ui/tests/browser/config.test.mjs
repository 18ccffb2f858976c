// Configuration against the mock: looked at in the past, edited, checked, compared, applied; conflicts; revisions restored.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browse } from "./harness.mjs";

let it;
before(async () => { it = await browse({ reducedMotion: "reduce" }); });
after(async () => { assert.deepEqual(it.problems, [], "no script failed"); await it.close(); });
const open = (path) => it.page.goto(it.mock.url + path);
const ago = (minutes) => it.mock.context.world.start - minutes * 60;
const stored = (kind, name) => it.mock.context.config.object("blog-system", kind, name, Date.now() / 1000);
const button = (name) => it.page.getByRole("button", { name, exact: true });

/** Replaces all that is in the editor. */
async function type(text) {
  const content = it.page.locator(".cm-content").first();
  await content.waitFor();
  await content.click();
  await it.page.keyboard.press("Control+a");
  await it.page.keyboard.insertText(text);
}

test("configuration of a past moment is what it was then", async () => {
  await open(`/console/config/blog-system/VirtualService/web-vsvc?at=${ago(20)}`);
  await it.page.locator(".cm-content").waitFor();
  assert.match(await it.page.locator(".cm-content").innerText(), /weight: 100\n[\s\S]*weight: 0/);
  await it.page.getByText("You are looking at the past").waitFor();
});

test("YAML: checked as it is typed, compared before it is applied, applied, and in the history", async () => {
  await open("/console/config/blog-system/PeerAuthentication/default");
  const yaml = (mode) => `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: default\n  namespace: blog-system\nspec:\n  mtls:\n    mode: ${mode}\n`;
  await type(yaml("SOMETIMES"));
  const findings = it.page.getByLabel("Findings");
  await findings.getByText("SOMETIMES is no mode of mTLS.").waitFor();
  assert.equal(await it.page.locator(".cm-lint-marker-error").count(), 1);
  await type("a: [\n");
  await it.page.locator(".cm-lint-marker-error").waitFor();
  await type(yaml("STRICT"));
  await findings.getByText("Nothing found.").waitFor();
  const written = () => it.mock.context.config.object("blog-system", "PeerAuthentication", "default", Date.now() / 1000).yaml;
  await it.page.getByRole("button", { name: "Review changes" }).first().click();
  await it.page.locator(".diff .cm-deletedChunk").waitFor();
  assert.match(await it.page.locator(".diff .cm-deletedChunk").innerText(), /PERMISSIVE/);
  assert.match(await it.page.locator(".diff .cm-changedLine").innerText(), /STRICT/);
  assert.match(written(), /PERMISSIVE/, "a dry run writes nothing");
  await it.page.getByRole("button", { name: "Apply", exact: true }).click();
  await it.page.getByRole("tab", { name: "History (2)" }).waitFor();
  assert.match(written(), /STRICT/);
  await it.page.getByText("Applied.").waitFor();
  await it.page.getByRole("tab", { name: "History (2)" }).click();
  await it.page.getByText("edited in the console").waitFor();
});

test("somebody else was faster: their change is shown, and mine can be reviewed against it", async () => {
  await open("/console/config/blog-system/DestinationRule/was-dest-rule");
  const mine = stored("DestinationRule", "was-dest-rule").yaml.replace("ROUND_ROBIN", "LEAST_REQUEST");
  await type(mine);
  const theirs = { ...stored("DestinationRule", "was-dest-rule") };
  it.mock.context.config.apply({ yaml: theirs.yaml.replace("maxRequestsPerConnection: 10", "maxRequestsPerConnection: 7"), dryRun: false, resourceVersion: null }, Date.now() / 1000, () => undefined);
  await button("Review changes").click();
  const conflict = it.page.getByRole("alert");
  await conflict.getByText("Somebody else changed it").waitFor();
  await conflict.locator(".cm-changedLine").filter({ hasText: "maxRequestsPerConnection: 7" }).waitFor();
  assert.equal(await it.page.getByRole("button", { name: "Apply", exact: true }).count(), 0, "a conflict cannot be applied over");
  await button("Review mine against theirs").click();
  await it.page.locator(".diff .cm-deletedChunk").filter({ hasText: "7" }).waitFor();
  await button("Apply").click();
  await it.page.getByText("Applied.").waitFor();
  assert.equal(stored("DestinationRule", "was-dest-rule").yaml, mine);
});

test("a revision is restored by the same way of difference and apply", async () => {
  await open("/console/config/blog-system/DestinationRule/was-dest-rule?tab=history");
  const revision = stored("DestinationRule", "was-dest-rule").history.find((r) => r.summary.endsWith("100 -> 1"));
  await it.page.getByRole("button", { name: /100 -> 1$|100 -> 1 / }).filter({ hasText: "100 -> 1" }).first().click();
  await it.page.locator(".diff .cm-changedLine").filter({ hasText: "http1MaxPendingRequests: 1" }).first().waitFor();
  await button("Side by side").click();
  await it.page.locator(".diff .cm-mergeView").waitFor();
  assert.equal(await it.page.locator(".diff .cm-editor").count(), 2);
  await button("Unified").click();
  await button("With what is now").click();
  await it.page.waitForURL(/with=newest/);
  await button("Restore this revision").click();
  await it.page.locator(".apply .cm-changedLine").filter({ hasText: "http1MaxPendingRequests: 1" }).first().waitFor();
  await button("Apply").click();
  await it.page.getByText("Applied.").waitFor();
  assert.equal(stored("DestinationRule", "was-dest-rule").yaml, revision.yaml);
});

test("a new object is made from a template, and opened once it is there", async () => {
  await open("/console/config/new?ns=platform");
  await it.page.getByLabel("Kind").selectOption("PeerAuthentication");
  await it.page.locator(".cm-content").filter({ hasText: "mode: STRICT" }).waitFor();
  await type((await it.page.locator(".cm-content").innerText()).replace("STRICT", "PERMISSIVE"));
  await button("Review changes").click();
  await it.page.getByText("is created").waitFor();
  await button("Apply").click();
  await it.page.waitForURL(/\/config\/platform\/PeerAuthentication\/default\?ns=platform$/);
});
