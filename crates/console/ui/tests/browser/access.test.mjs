// Signing in and out: by token, at an identity provider, in the middle of work; what one may not do is said, with what is missing.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { browse, graph } from "./harness.mjs";

const yaml = (namespace) => `apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata:\n  name: default\n  namespace: ${namespace}\nspec:\n  mtls:\n    mode: STRICT\n`;

async function signIn(page, token) {
  await page.getByLabel("Bearer token").fill(token);
  await page.getByRole("dialog").getByRole("button", { name: "Sign in" }).click();
}

async function edit(it, text) {
  const content = it.page.locator(".cm-content");
  await content.waitFor();
  await content.click();
  await it.page.keyboard.press("Control+a");
  await it.page.keyboard.insertText(text);
}

describe("token", () => {
  let it;
  before(async () => { it = await browse({ reducedMotion: "reduce", mode: "token", mustSignIn: true }); });
  after(() => it.close());

  test("nothing is shown before one has signed in, a wrong token is refused, a right one shows the page that was asked for", async () => {
    await it.page.goto(`${it.mock.url}/console/graph?type=workload`);
    await it.page.getByRole("dialog").waitFor();
    await signIn(it.page, "nonsense");
    await it.page.getByRole("alert").filter({ hasText: "The API server does not know this token." }).waitFor();
    await signIn(it.page, "admin");
    assert.ok((await graph(it.page)).nodes.length > 5);
    await it.page.getByText("Signed in as istio-system:admin").waitFor();
    assert.match(it.page.url(), /type=workload/);
  });

  test("the token is nowhere that a script could read it", async () => {
    const kept = await it.page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href]));
    assert.doesNotMatch(kept, /admin"/);
    const [cookie] = await it.context.cookies();
    assert.deepEqual([cookie.name, cookie.httpOnly, cookie.sameSite], ["console", true, "Strict"]);
  });

  test("a session that ends while one edits asks again, and keeps what was typed", async () => {
    await it.page.goto(`${it.mock.url}/console/config/blog-system/PeerAuthentication/default`);
    await edit(it, yaml("blog-system"));
    await it.context.clearCookies();
    // What is typed is checked, and the server knows nobody any more.
    await it.page.keyboard.type("# a remark\n");
    await it.page.getByRole("dialog").waitFor();
    await signIn(it.page, "blog");
    await it.page.getByText("Signed in as blog-system:deployer").waitFor();
    await it.page.getByRole("button", { name: "Review changes" }).first().click();
    await it.page.locator(".diff .cm-changedLine").filter({ hasText: "STRICT" }).waitFor();
  });

  test("what one may not do is said with the permission that is missing", async () => {
    await it.page.goto(`${it.mock.url}/console/config/new`);
    await edit(it, yaml("platform"));
    await it.page.getByRole("button", { name: "Review changes" }).first().click();
    const said = it.page.getByRole("alert");
    await said.filter({ hasText: 'cannot patch resource "peerauthentications" in API group "security.istio.io" in the namespace "platform"' }).waitFor();
    await said.getByText("Missing permission").waitFor();
  });

  test("signing out takes the session away", async () => {
    await it.page.getByRole("button", { name: "Sign out" }).click();
    await it.page.getByText("Anonymous").waitFor();
    assert.deepEqual(await it.context.cookies(), []);
  });
});

test("who may only look is told why, and can still see what would change", async () => {
  const it = await browse({ reducedMotion: "reduce", mode: "token" });
  await it.page.goto(`${it.mock.url}/console/services/blog-system/web-service?tab=wizards`);
  await it.page.getByRole("button", { name: "Sign in" }).click();
  await signIn(it.page, "viewer");
  await it.page.getByText("Signed in as default:viewer").waitFor();
  await it.page.getByText("may look, but change no Istio resource in any namespace").first().waitFor();
  await it.close();
});

test("an identity provider brings one back to the same view", async () => {
  const it = await browse({ reducedMotion: "reduce", mode: "oidc", mustSignIn: true });
  await it.page.goto(`${it.mock.url}/console/workloads?ns=platform`);
  await it.page.getByRole("link", { name: "Go to the identity provider" }).click();
  await it.page.locator("tbody tr").first().waitFor();
  assert.match(it.page.url(), /\/console\/workloads\?ns=platform$/);
  await it.close();
});
