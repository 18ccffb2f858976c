// The other pages against the mock: lists, configuration, logs, traces, explain, mesh, wizards; read-only; Korean; dark.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browse } from "./harness.mjs";

let it;
before(async () => { it = await browse({ reducedMotion: "reduce" }); });
after(async () => { assert.deepEqual(it.problems, [], "no script failed"); await it.close(); });
const open = (path) => it.page.goto(it.mock.url + path);
const ago = (minutes) => it.mock.context.world.start - minutes * 60;

test("lists: sorted, filtered, opened", async () => {
  await open(`/console/workloads?at=${ago(10)}`);
  const rows = it.page.locator("tbody tr");
  await rows.first().waitFor();
  assert.equal(await rows.count(), 8);
  assert.match(await rows.first().innerText(), /Failure/, "the worst comes first");
  await it.page.getByLabel("Filter").fill("mysql");
  await it.page.waitForFunction(() => document.querySelectorAll("tbody tr").length === 1);
  await rows.first().click();
  await it.page.waitForURL(/workloads\/blog-system\/mysql/);
  await it.page.getByRole("heading", { name: "mysql" }).waitFor();
});

test("logs: application and sidecar beside each other, in the order of time, by a filter", async () => {
  await open(`/console/logs/blog-system/web?at=${ago(10)}`);
  const rows = it.page.locator(".log-line");
  await rows.first().waitFor();
  const times = await it.page.locator(".log-line .when").allInnerTexts();
  assert.deepEqual(times, [...times].sort().reverse());
  const sides = await rows.evaluateAll((all) => [all.filter((r) => r.children[1].textContent).length, all.filter((r) => r.children[2].textContent).length]);
  assert.ok(sides[0] > 10 && sides[1] > 10, String(sides));
  await it.page.getByLabel("Only errors").check();
  await it.page.waitForFunction(() => [...document.querySelectorAll(".log-line")].every((r) => r.classList.contains("is-bad")) && document.querySelector(".log-line"));
  assert.ok(await it.page.locator(".log-line .flag").filter({ hasText: "UO" }).count() > 0);
});

test("logs: followed, held still while one reads, and of one side alone", async () => {
  await open("/console/logs/blog-system/was");
  const first = it.page.locator(".log-line").first();
  await first.waitFor();
  await it.page.getByRole("button", { name: "Following" }).click();
  const top = await first.innerText();
  const follow = it.page.getByRole("button", { name: /^Follow \((?!0 )\d+ new\)/ });
  await follow.waitFor();
  assert.equal(await first.innerText(), top);
  await follow.click();
  await it.page.waitForFunction((top) => document.querySelector(".log-line").innerText !== top, top);
  await it.page.getByRole("button", { name: "Sidecar", exact: true }).click();
  await it.page.waitForURL(/side=sidecar/);
  await it.page.waitForFunction(() => [...document.querySelectorAll(".log-line")].every((r) => r.querySelector(".access")));
});

test("a trace: waterfall with its critical path, hop by hop; the slow one is mysql's", async () => {
  await open(`/console/traces?service=was.blog-system&min=1s&at=${ago(20)}`);
  const rows = it.page.locator("tbody tr");
  await rows.first().waitFor();
  for (const text of await rows.allInnerTexts()) assert.match(text, /\d s/);
  await rows.first().locator("a").first().click();
  const items = it.page.getByRole("treeitem");
  await items.first().waitFor();
  const count = await items.count();
  assert.ok(count >= 5, String(count));
  assert.ok(await it.page.locator(".span-line .critical").count() > 3);
  assert.match(await it.page.locator("tbody tr").first().innerText(), /mysql[\s\S]*(9\d|100) %/);
  await items.filter({ hasText: "SELECT id, title, body FROM posts" }).click();
  await it.page.locator(".span-detail pre").filter({ hasText: "ORDER BY created_at DESC LIMIT 20" }).waitFor();
  await items.first().focus();
  await it.page.keyboard.press("ArrowDown");
  await it.page.keyboard.press("Enter");
  await it.page.locator(".span-detail").getByText("upstream_cluster").waitFor();
  await items.first().focus();
  await it.page.keyboard.press("ArrowLeft");
  await it.page.waitForFunction(() => document.querySelectorAll("[role=treeitem]").length === 1);
});

test("two traces are compared", async () => {
  await open(`/console/traces?service=was.blog-system&at=${ago(20)}`);
  const boxes = it.page.locator("tbody input[type=checkbox]");
  await boxes.first().waitFor();
  await boxes.nth(0).check();
  await boxes.nth(1).check();
  await it.page.getByRole("button", { name: "Compare (2 of 2 chosen)" }).click();
  await it.page.getByRole("heading", { name: /Two traces compared/ }).waitFor();
  assert.ok(await it.page.locator("tbody tr").count() >= 4);
});

test("explain says which step went wrong and what lost", async () => {
  await open("/console/explain?from=blog-system/web&to=blog.jiminhome.shop&path=/api/posts");
  await it.page.locator(".verdict").getByText(/was answers 403, denied by AuthorizationPolicy/).waitFor();
  assert.equal(await it.page.locator(".steps .is-bad").count() > 0, true);
  await it.page.locator(".rejected").getByText(/the caller showed no certificate/).waitFor();
  await open("/console/explain?from=blog-system/web&to=api.elsewhere.example");
  await it.page.locator(".steps pre").filter({ hasText: "kind: ServiceEntry" }).waitFor();
});

test("explain: asked by a form with headers, led to the line that decided, and told what is not there", async () => {
  await open("/console/explain");
  await it.page.getByLabel("From workload").fill("blog-system/was");
  await it.page.getByLabel("Host").fill("web-service.blog-system");
  await it.page.getByRole("button", { name: "Add headers" }).click();
  await it.page.getByLabel("Headers, one a line").fill("X-Canary-Test: true");
  await it.page.getByRole("button", { name: "Explain", exact: true }).click();
  await it.page.getByText("the first rule that matches: VirtualService blog-system/web-vsvc spec.http[0]").waitFor();
  await it.page.getByRole("link", { name: "VirtualService blog-system/web-vsvc, line 9" }).click();
  await it.page.locator(".cm-activeLine").filter({ hasText: /./ }).waitFor();
  assert.equal(await it.page.locator(".cm-activeLineGutter, .cm-activeLine").count() > 0, true);
  await it.page.goBack();
  await it.page.getByLabel("From workload").fill("blog-system/nobody");
  await it.page.getByRole("button", { name: "Explain", exact: true }).click();
  await it.page.getByRole("alert").filter({ hasText: "There is no workload blog-system/nobody with a pod that runs" }).waitFor();
});

test("from an edge to its explanation, and to the wizards of its service", async () => {
  const edge = encodeURIComponent("svc_local_blog-system_was-service>vapp_local_blog-system_was>http");
  await open(`/console/graph?at=${ago(10)}&sel=${edge}`);
  const panel = it.page.locator("#panel");
  await panel.getByRole("link", { name: "Why does it go this way?" }).click();
  await it.page.waitForURL(/from=blog-system\/web&.*to=was-service\.blog-system/);
  await it.page.locator(".steps").first().waitFor();
  await it.page.goBack();
  await panel.getByRole("link", { name: "Explain a request that failed" }).click();
  await it.page.locator(".verdict").getByText("and then the connection pool was full").waitFor();
  await it.page.goBack();
  await panel.getByText("What changed before").waitFor();
  await panel.getByText("http1MaxPendingRequests 100 -> 1 · jimin").waitFor();
  await panel.getByRole("link", { name: "Timeouts and retries" }).click();
  await it.page.waitForURL(/services\/blog-system\/was-service/);
  await it.page.locator(".yaml").filter({ hasText: "timeout: 10s" }).first().waitFor();
});

test("the mesh page: certificates that expire, a proxy that refused", async () => {
  await open("/console/mesh");
  await it.page.getByText("RDS 9000").waitFor();
  const proxies = it.page.locator("table").nth(1).locator("tbody tr");
  assert.match(await proxies.first().innerText(), /Rejected/);
});

test("a wizard makes YAML that changes with the slider, warns, and shows what it would change", async () => {
  await open("/console/services/blog-system/web-service?tab=wizards");
  const slider = it.page.getByLabel("Weight of v2");
  await slider.fill("30");
  await it.page.locator(".yaml").filter({ hasText: "weight: 30" }).waitFor();
  assert.match(await it.page.locator(".yaml").innerText(), /weight: 70[\s\S]*weight: 30/);
  await it.page.getByText("web-vsvc routes this service already").waitFor();
  await it.page.getByRole("button", { name: "Review changes" }).click();
  await it.page.getByRole("alert").filter({ hasText: '"argo-rollouts" manages .spec.http of VirtualService web-vsvc.' }).waitFor();
  await it.page.getByRole("button", { name: "Review taking them over" }).click();
  await it.page.locator(".diff").first().waitFor();
  assert.equal(await it.page.locator(".diff").count(), 2);
  await it.page.getByText("What it would have done").waitFor();
  await it.page.getByRole("button", { name: "Authorization from traffic" }).click();
  await it.page.getByText("it has no identity, cannot be named").waitFor();
});

test("Korean: chosen, kept, and announced to readers of the page", async () => {
  await open("/console/graph");
  await it.page.getByLabel("Language", { exact: true }).selectOption("ko");
  await it.page.getByRole("link", { name: "트레이스" }).waitFor();
  assert.equal(await it.page.evaluate(() => document.documentElement.lang), "ko");
  assert.match(await it.page.title(), /그래프/);
  await it.page.reload();
  await it.page.getByRole("button", { name: "버전별 앱" }).waitFor();
  // What the server says, too.
  await open("/console/explain?from=blog-system/web&to=blog.jiminhome.shop");
  await it.page.locator(".steps").nth(1).waitFor();
  const told = await it.page.locator(".verdict-text, .steps p.muted, .rejected .muted").allInnerTexts();
  assert.ok(told.length > 8);
  for (const text of told) assert.match(text, /[가-힣]/);
  await it.page.getByLabel("언어", { exact: true }).selectOption("en");
});

test("dark and light, by choice and by the system", async () => {
  await open("/console/overview");
  await it.page.getByRole("heading", { name: "Overview" }).waitFor();
  const ground = () => it.page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await ground();
  await it.page.getByLabel("Theme").selectOption("dark");
  const dark = await ground();
  assert.notEqual(dark, light);
  await it.page.getByLabel("Theme").selectOption("auto");
  await it.page.emulateMedia({ colorScheme: "dark" });
  assert.equal(await ground(), dark);
  await it.page.emulateMedia({ colorScheme: "light" });
});

test("the overview names requests that no service was found for, leads to them, and has the graph's numbers", async () => {
  await open(`/console/overview?at=${ago(40)}`);
  const lost = it.page.locator(".attention a", { hasText: "PassthroughCluster" });
  await lost.waitFor();
  assert.match(await it.page.locator(".attention").innerText(), /blog\.jiminhome\.shop/);
  const tile = async (name) => (await it.page.locator(".tile", { hasText: name }).locator("strong").innerText()).trim();
  const [rate, mtls] = [await tile("Requests/s"), await tile("Requests over mTLS")];
  await it.page.getByRole("link", { name: "Graph", exact: true }).click();
  const figures = it.page.locator("#panel .figure");
  await figures.first().waitFor();
  assert.deepEqual([await figures.nth(0).locator("strong").innerText(), await figures.nth(2).locator("strong").innerText()], [rate, mtls]);
  await it.page.goBack();
  await lost.click();
  await it.page.locator("#panel").getByText("No service was found for this traffic").waitFor();
  await it.page.locator("#panel").getByText("Arrives at").waitFor();
});

test("a trace says what was asked for and what was answered, in the list and by itself", async () => {
  await open(`/console/traces?service=web.blog-system&errors=1&at=${ago(11)}`);
  const first = it.page.locator("tbody tr").first();
  await first.waitFor();
  assert.match(await first.innerText(), /503[\s\S]*GET \/api\/posts/);
  await first.locator("a").first().click();
  await it.page.locator(".summary-line").filter({ hasText: /503\s+GET \/api\/posts/ }).waitFor();
  await it.page.locator(".span-row.is-bad .span-time").filter({ hasText: /503/ }).first().waitFor();
});

test("what is selected and not drawn is told of all the same", async () => {
  await open("/console/graph?sel=wl_local_nowhere_nothing");
  await it.page.locator("#panel").getByText("What was selected is not in this graph").waitFor();
});

test("back and forward go through views", async () => {
  await open("/console/graph");
  await it.page.getByRole("button", { name: "Workload", exact: true }).click();
  await it.page.getByRole("link", { name: "Mesh" }).click();
  await it.page.waitForURL(/\/console\/mesh/);
  await it.page.goBack();
  await it.page.waitForURL(/type=workload/);
  assert.equal(await it.page.getByRole("button", { name: "Workload", exact: true }).getAttribute("aria-pressed"), "true");
});

test("read-only: everything can be seen, nothing applied", async () => {
  it.mock.context.access.nobody.readOnly = true;
  await open("/console/services/blog-system/web-service?tab=wizards");
  await it.page.getByLabel("Weight of v2").fill("20");
  await it.page.getByRole("button", { name: "Review changes" }).click();
  await it.page.getByRole("button", { name: "Review taking them over" }).click();
  await it.page.locator(".diff").first().waitFor();
  assert.equal(await it.page.getByRole("button", { name: "Apply", exact: true }).isDisabled(), true);
  it.mock.context.access.nobody.readOnly = false;
});
