// Deleting against the mock: shown first, said, done, and made again from the history; what stands in the way is said.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { browse } from "./harness.mjs";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
let it;
before(async () => { it = await browse({ reducedMotion: "reduce" }); });
after(async () => { assert.deepEqual(it.problems, [], "no script failed"); await it.close(); });
const path = (kind, name) => `${it.mock.url}/console/config/blog-system/${kind}/${name}`;
const stored = (kind, name) => it.mock.context.config.object("blog-system", kind, name, Date.now() / 1000);
const put = (yaml) => it.mock.context.config.apply({ yaml, dryRun: false, resourceVersion: null, force: true }, Date.now() / 1000, () => undefined);
const button = (name) => it.page.getByRole("button", { name, exact: true });

test("by the keyboard alone: looked at, thought over, done, and made again", async () => {
  await it.page.goto(path("AuthorizationPolicy", "was-authz"));
  const { yaml } = stored("AuthorizationPolicy", "was-authz");
  await button("Delete").focus();
  await it.page.keyboard.press("Enter");
  const dialog = it.page.getByRole("dialog", { name: "Delete AuthorizationPolicy was-authz?" });
  await dialog.getByText("Without it the proxies of 2 workloads are told something else").waitFor();
  assert.equal(await dialog.locator("pre").innerText(), yaml);
  await dialog.getByRole("button", { name: "Delete was-authz" }).and(it.page.locator(":enabled")).waitFor();
  await it.page.evaluate(axe);
  for (const colorScheme of ["light", "dark"]) {
    await it.page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    const { violations } = await it.page.evaluate(() => window.axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"] }));
    assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes[0].target}`), [], colorScheme);
  }
  await it.page.keyboard.press("Escape");
  await it.page.locator("dialog.confirm").waitFor({ state: "detached" });
  assert.equal(stored("AuthorizationPolicy", "was-authz").deleted, null, "looking deletes nothing");

  await it.page.keyboard.press("Enter");
  const last = dialog.getByRole("button", { name: "Delete was-authz" });
  await last.and(it.page.locator(":enabled")).waitFor();
  assert.equal(await it.page.evaluate(() => document.activeElement.textContent), "Cancel", "Enter on its own deletes nothing");
  await it.page.keyboard.press("Shift+Tab");
  await it.page.keyboard.press("Enter");
  await it.page.getByText(/^It was deleted /).waitFor();
  assert.ok(stored("AuthorizationPolicy", "was-authz").deleted > 0);
  assert.equal(await button("Delete").count(), 0);
  await it.page.getByRole("tab", { name: "History (2)" }).click();
  await it.page.getByRole("button", { name: /deleted/ }).waitFor();
  await it.page.getByRole("button", { name: /created/ }).click();
  await button("Restore this revision").click();
  await it.page.getByText("is created").waitFor();
  await button("Apply").click();
  await it.page.getByText("Applied.").waitFor();
  assert.deepEqual([stored("AuthorizationPolicy", "was-authz").yaml, stored("AuthorizationPolicy", "was-authz").deleted], [yaml, null]);
  await button("Delete").waitFor();
});

test("what was deleted is still found, and made again from where it is said", async () => {
  it.mock.context.config.delete({ ref: stored("PeerAuthentication", "default").ref, dryRun: false, resourceVersion: null }, Date.now() / 1000, () => undefined);
  await it.page.goto(path("PeerAuthentication", "default"));
  await it.page.getByText("It is deleted: this is what it said last.").waitFor();
  assert.match(await it.page.locator(".cm-content").innerText(), /PERMISSIVE/);
  await button("Make it again").click();
  await it.page.getByText("is created").waitFor();
  await button("Apply").click();
  await it.page.getByText("Applied.").waitFor();
  assert.equal(stored("PeerAuthentication", "default").deleted, null);
});

test("somebody else changed it: it is looked at anew before it can be deleted", async () => {
  await it.page.goto(path("DestinationRule", "was-dest-rule"));
  await it.page.locator(".cm-content").waitFor();
  put(stored("DestinationRule", "was-dest-rule").yaml.replace("ROUND_ROBIN", "RANDOM"));
  await button("Delete").click();
  await it.page.getByRole("alert").filter({ hasText: "Somebody else changed DestinationRule was-dest-rule" }).waitFor();
  assert.equal(await button("Delete was-dest-rule").count(), 0);
  await button("Look at it as it is now").click();
  await it.page.locator(".cm-content").filter({ hasText: "RANDOM" }).waitFor();
  await button("Delete").click();
  await button("Delete was-dest-rule").and(it.page.locator(":enabled")).waitFor();
  await button("Cancel").click();
});

test("who keeps it is named; what has to let go of it keeps it", async () => {
  await it.page.goto(path("VirtualService", "web-vsvc"));
  await button("Delete").click();
  await it.page.getByText("argo-rollouts keeps this object, and may make it anew.").waitFor();
  await button("Cancel").click();
  put(stored("DestinationRule", "web-dest-rule").yaml.replace("  namespace: blog-system\n", "  namespace: blog-system\n  finalizers: [example.com/tidy]\n"));
  await it.page.goto(path("DestinationRule", "web-dest-rule"));
  await button("Delete").click();
  await button("Delete web-dest-rule").click();
  await it.page.getByText("It is marked to be deleted").waitFor();
  assert.equal(stored("DestinationRule", "web-dest-rule").deleted, null);
  await it.page.getByRole("dialog").getByRole("button", { name: "Close" }).click();
});

test("who may not is told what is missing; read-only shows and does nothing; the past is not deleted", async () => {
  const other = await browse({ reducedMotion: "reduce", mode: "token", mustSignIn: true });
  await other.page.goto(`${other.mock.url}/console/config/platform/ServiceEntry/slack`);
  await other.page.getByLabel("Bearer token").fill("blog");
  await other.page.getByRole("dialog").getByRole("button", { name: "Sign in" }).click();
  await other.page.getByRole("button", { name: "Delete", exact: true }).click();
  const said = other.page.getByRole("alert");
  await said.filter({ hasText: 'cannot delete resource "serviceentries"' }).waitFor();
  await said.getByText("verbs get and delete on serviceentries").waitFor();
  assert.ok(await other.page.getByRole("button", { name: "Delete slack" }).isDisabled());
  await other.close();

  const fixed = await browse({ reducedMotion: "reduce", readOnly: true });
  await fixed.page.goto(`${fixed.mock.url}/console/config/blog-system/PeerAuthentication/default`);
  await fixed.page.getByRole("button", { name: "Delete", exact: true }).click();
  await fixed.page.getByRole("dialog").getByText("This console was started with --read-only: it changes nothing.").waitFor();
  assert.ok(await fixed.page.getByRole("button", { name: "Delete default" }).isDisabled());
  await fixed.page.goto(`${fixed.mock.url}/console/config/blog-system/PeerAuthentication/default?at=${fixed.mock.context.world.start - 600}`);
  await fixed.page.getByText("You are looking at the past").waitFor();
  assert.equal(await fixed.page.getByRole("button", { name: "Delete", exact: true }).count(), 0);
  await fixed.close();
});
