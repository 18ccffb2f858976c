import assert from "node:assert/strict";
import { test } from "node:test";
import { bytes, duration, percent, short, span } from "../../src/state/format.ts";
import { defaults, format, parse } from "../../src/state/url.ts";
import { access } from "../../src/state/accesslog.ts";
import { en } from "../../src/i18n/en.ts";

const split = (address: string): [string, string] => { const i = address.indexOf("?"); return i < 0 ? [address, ""] : [address.slice(0, i), address.slice(i)]; };

test("a view and its address say the same", () => {
  const views = [
    defaults(),
    { ...defaults(), page: "graph" as const, namespaces: ["a", "b"], window: 60, at: 1764000000, type: "service" as const, labels: [], find: "! healthy and (rt > 5)", hide: "idle", selected: "a>b>http", opened: ["x"], as: "table" as const },
    { ...defaults(), page: "graph" as const, show: { ...defaults().show, animation: false, idle: true }, stat: "p99" as const },
    { ...defaults(), page: "graph" as const, rates: { http: "none" as const, grpc: "received" as const, tcp: "total" as const } },
    { ...defaults(), page: "graph" as const, rates: { http: "none" as const, grpc: "none" as const, tcp: "none" as const } },
    { ...defaults(), page: "config" as const, path: ["blog-system", "VirtualService", "web vsvc/1"], tab: "history", extra: { line: "7", yaml: "a: b\n" } },
  ];
  for (const view of views) assert.deepEqual(parse(...split(format(view))), view);
});

test("what is as by default is not in the address", () => {
  assert.equal(format(defaults()), "/console/overview");
});

test("an address that makes no sense is read as far as it does", () => {
  const view = parse("/console/nowhere/x", "?window=7&at=never&type=circle&labels=rate,colour&show=-animation,nonsense");
  assert.equal(view.page, "overview");
  assert.equal(view.window, 600);
  assert.equal(view.at, null);
  assert.equal(view.type, "versionedApp");
  assert.deepEqual(view.labels, ["rate"]);
  assert.equal(view.show.animation, false);
  assert.deepEqual(parse("/console/graph", "?rates=tcp-bytes,grpc-sent,udp").rates, { http: "none", grpc: "sent", tcp: "none" });
  assert.equal(parse("/console/config/%E0%A4%A", "").path[0], "%E0%A4%A");
});

test("numbers", () => {
  assert.deepEqual([0, 0.004, 0.5, 9.999, 12.34, 123.4, 999.7, 1000, 15_300, 2_000_000, NaN].map(short), ["0", "<0.01", "0.5", "10", "12.3", "123", "1k", "1k", "15.3k", "2M", "–"]);
  assert.deepEqual([0, 0.0004, 0.004, 0.05, 0.125, 0.995, 0.9995, 1].map(percent), ["0 %", "<0.1 %", "0.4 %", "5 %", "13 %", "99.9 %", ">99.9 %", "1".padEnd(3, "0") + " %"]);
  assert.deepEqual([0.25, 12, 999, 1500, 61_000].map(duration), ["250 µs", "12 ms", "999 ms", "1.5 s", "1 m 1 s"]);
  assert.deepEqual([12, 2048, 3 * 2 ** 20].map(bytes), ["12 B", "2 KiB", "3 MiB"]);
  assert.deepEqual([0, 59, 3600, 3661, 90_000].map(span), ["0 s", "59 s", "1 h", "1 h 1 m", "1 d 1 h"]);
});

test("every message is used, or built from a name that is", async () => {
  const { readFileSync, readdirSync } = await import("node:fs");
  const root = `${process.cwd()}/src`;
  const files = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((f) => /\.tsx?$/.test(f) && !f.startsWith("i18n"));
  const all = files.map((f) => readFileSync(`${root}/${f}`, "utf8")).join("\n");
  const built = [...all.matchAll(/`([a-zA-Z.]+)\.\$\{/g)].map((m) => `${m[1]}.`);
  const unused = Object.keys(en).filter((key) => !all.includes(`"${key}"`) && !built.some((b) => key.startsWith(b)) && !/^graph\.(find|hide)\.placeholder$/.test(key) && !/^wizard\.\w+\.lead$/.test(key));
  assert.deepEqual(unused, []);
});

test("a line of Istio's default access log is read, others are not", () => {
  const line = '[2026-11-25T17:00:00.000Z] "GET /api/posts?x=1 HTTP/1.1" 503 UO upstream_reset_before_response_started{overflow} - "-" 0 81 12 - "10.244.0.9" "curl/8.5.0" "b1f6" "was-service" "10.244.0.17:8080" outbound|8080||was-service.blog-system.svc.cluster.local - 10.96.114.27:8080 10.244.0.5:51234 - default';
  assert.deepEqual(access(line), { method: "GET", path: "/api/posts?x=1", code: "503", flags: "UO", details: "upstream_reset_before_response_started{overflow}", duration: 12, host: "was-service", cluster: "outbound|8080||was-service.blog-system.svc.cluster.local", upstream: "10.244.0.17:8080", direction: "outbound", traceId: null });
  assert.equal(access(line.replace("outbound|8080||was-service.blog-system.svc.cluster.local", "inbound|8080||"))!.direction, "inbound");
  assert.equal(access("2026-11-25T17:00:00.000Z info ready"), null);
});
