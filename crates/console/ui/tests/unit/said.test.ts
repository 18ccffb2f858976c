// What the server says is said in Korean: forms are found, and there is one for every sentence in the sources that pages show.
import assert from "node:assert/strict";
import { test } from "node:test";
import { join } from "node:path";
import { forms, read as say } from "../../src/i18n/ko/index.ts";
import { reader } from "../../src/i18n/said.ts";
import { filled, sources, texts } from "./rust.ts";

const read = reader([
  ["none", "없음"],
  ["it is not there", "그것이 없습니다"],
  ["The answer is {status}: {why*}", "응답은 {status}입니다: {why*}"],
  ["The answer is {status}, a redirect", "응답은 {status} 리다이렉트입니다"],
  ["{name} has no port {port}", "{name}에 포트 {port}이(가) 없습니다"],
  ["Mend it", "고치세요"],
  ["`{name}` is wrong", "`{name}`이(가) 틀렸습니다"],
]);

test("a sentence is known by its form, whatever is put in", () => {
  assert.equal(read("none"), "없음");
  assert.equal(read("web.blog has no port 80"), "web.blog에 포트 80이(가) 없습니다");
  assert.equal(read("`a b. C` is wrong"), "`a b. C`이(가) 틀렸습니다");
  assert.equal(read("The answer is 404: it is not there."), "응답은 404입니다: 그것이 없습니다.");
  assert.equal(read("The answer is 307, a redirect."), "응답은 307 리다이렉트입니다.");
});

test("what has no form stays as it was said", () => {
  assert.equal(read("Something else."), "Something else.");
  assert.equal(read("The answer is 404: something else."), "응답은 404입니다: something else.");
});

test("sentences and parts that follow each other are read one by one", () => {
  assert.equal(read("a has no port 1. Mend it."), "a에 포트 1이(가) 없습니다. 고치세요.");
  assert.equal(read("it is not there; a has no port 1"), "그것이 없습니다; a에 포트 1이(가) 없습니다");
});

test("a resource below a sentence is not touched", () => {
  assert.equal(read("Mend it\nkind: none\nnone"), "고치세요\nkind: none\nnone");
});

const rows = Object.values(forms).flat();
const names = (text: string): string[] => [...text.matchAll(/\{(\w+\*?)\}/g)].map((m) => m[1]).sort();

test("every form is given the same names in both, and is there once", () => {
  for (const [english, other] of rows) {
    assert.deepEqual(names(other), names(english), english);
    assert.ok(!english.endsWith("."), `a form ends without its full stop: ${english}`);
  }
  assert.equal(new Set(rows.map(([english]) => english)).size, rows.length);
});

test("whole answers are read as the server puts them together", () => {
  const korean = {
    "The client got 503. The answer is 503 (UH): no pod that is ready has the labels of subset v2; the service has 2 endpoints.":
      "클라이언트는 503을(를) 받았습니다. 응답은 503 (UH)입니다: 서브셋 v2의 레이블을 가진 준비된 파드가 없습니다. 서비스에는 엔드포인트가 2개 있습니다.",
    "was answers 403, denied by AuthorizationPolicy blog-system/was: there are ALLOW policies and none of their rules matches (ns[blog-system]-policy[was]-rule[0]: the caller showed no certificate (plain text, or TLS without one) and so has no identity, asked for is \"cluster.local/ns/a/sa/b\", and 2 more).":
      "was이(가) 403(으)로 응답합니다. AuthorizationPolicy blog-system/was에 의해 거부됨: ALLOW 정책이 있고 일치하는 규칙이 없습니다 (ns[blog-system]-policy[was]-rule[0]: 호출한 쪽이 인증서를 제시하지 않아(평문, 또는 인증서 없는 TLS) 신원이 없습니다. 요구된 것: \"cluster.local/ns/a/sa/b\", 그 밖에 2개).",
    "the first rule that matches, after 1 that do not: VirtualService blog-system/web spec.http[1]; it gets 80 of 100 requests":
      "일치하지 않는 1개 다음, 일치하는 첫 규칙: VirtualService blog-system/web spec.http[1]; 요청 100건 중 80건을 받습니다",
    "was-service.blog-system is the address of Service blog-system/was-service; it has no port 81, but 8080, 9090":
      "was-service.blog-system은(는) Service blog-system/was-service의 주소입니다; 포트 81은(는) 없고, 8080, 9090이(가) 있습니다",
    "nothing is registered as a.example; a ServiceEntry would name it in metrics, routes and policies. To mend it: register it:":
      "a.example(으)로 등록된 것이 없습니다; ServiceEntry를 만들면 메트릭, 경로, 정책에서 이름을 갖습니다. 해결 방법: 등록하세요:",
    "Write two policies: a with `mtls: {mode: STRICT}` and no portLevelMtls, and one for each workload that needs an exception: `selector: {matchLabels: {app: NAME}}, mtls: {mode: STRICT}, portLevelMtls: {80: {mode: DISABLE}}` for the workload whose container listens on 80; a workload without a sidecar needs none":
      "정책을 나누어 쓰세요: a에는 portLevelMtls 없이 `mtls: {mode: STRICT}`을(를) 두고, 예외가 필요한 워크로드마다 정책을 하나씩 둡니다: 컨테이너가 포트 80에서 수신하는 워크로드에는 `selector: {matchLabels: {app: NAME}}, mtls: {mode: STRICT}, portLevelMtls: {80: {mode: DISABLE}}`; 사이드카가 없는 워크로드에는 필요하지 않습니다",
    "timeout 15s, up to 2 retries, each at most 5s": "타임아웃 15s, 재시도 최대 2회, 각각 최대 5s",
    "was takes mutual TLS only on port 8080 (PeerAuthentication blog-system/was), and client has no sidecar and sends plain text: the connection is closed, and the client's connection is broken off without an answer.":
      "was의 포트 8080 (PeerAuthentication blog-system/was)은(는) 상호 TLS만 받는데, client에 사이드카가 없어 평문으로 보냅니다: 연결이 닫히고, 클라이언트의 연결이 응답 없이 끊깁니다.",
    "the path is \"/a b\", asked for is prefix \"/api\" up to a /": "경로는 \"/a b\"입니다. 요구된 것: /로 끝나는 단위의 접두사 \"/api\"",
  };
  for (const [english, wanted] of Object.entries(korean)) assert.equal(say(english), wanted);
});

test("a name that looks like a word of a sentence is left alone", () => {
  for (const text of ["outbound|8080||none.blog.svc.cluster.local", "10.0.0.1:8080 (web-5d9c)", "Internal error occurred: no pod is ready", "spec.http[0] none -> a"]) assert.equal(say(text), text);
});

const crates = join(process.cwd(), "..", "..");

/** Texts that are no sentence of their own: parts of others, which have forms, and what only terminals and logs show. */
const unsaid: readonly string[] = [
  "an endpoint of headless Service", "the address of Service", "{limit}, up to {} retries{per_try}",
  "anything but ", "{not}a number from {start} to {end} (not included)", "{not}what the policy says",
  "Somebody else {what} {} since this change was begun.", "{} answers {status}, denied{by}: {because}.",
  "{} This rule does nothing.", "has a scheme that modules are not fetched by", "names no host", "is not a URL",
  "Write two policies: {} with `mtls: {{mode: {own}}}` and no portLevelMtls, and one for each workload that needs an exception:",
  // Of the terminal, of logs, of protocols and queries, and of a program that does not start.
  "Pods and endpoints are those of now: what they were then is not known.\n", "too much", "and {more} more",
  "policy {policy} denies it", "no ALLOW policy has a rule that could match it", "no ALLOW policy matches it: {told}{rest}", "no route of virtual host {} matches", "{}: not matched, {why}", "error: line ",
  "retry: 1000\nid: {}\n\n", "id: {}\nevent: {topic}\ndata: {data}\n\n",
  "histogram_quantile(0.99, sum by (le) (increase(pilot_proxy_convergence_time_bucket[1h])))",
  "{0:?} is no URL of a server, such as http://prometheus.monitoring:9090: {1}", "there is no host in it", "what is asked for is not part of it", "{host} is no name of a server",
  "it cannot be read", "it begins with neither http:// nor https://", "names and passwords are not sent",
  "{0:?} is no name of a host: letters, digits, hyphens and dots, without a scheme, a port or a path", "{url} is no https: URL (http: is for providers on this machine)",
  "the API server cannot be spoken to: {0}", "cannot listen on {0}: {1}", "the server of {0} ended: {1}",
];

for (const [area, paths] of Object.entries({
  explain: ["console/src/explain", "console/src/api/explain.rs", "engine/src/route.rs", "engine/src/route/explain.rs", "engine/src/host.rs", "engine/src/listener.rs", "engine/src/rbac/explain.rs", "telemetry/src/graph/unmatched.rs"],
  errors: ["console/src/access", "console/src/access.rs", "console/src/api", "console/src/api.rs", "console/src/client.rs", "console/src/dashboard.rs", "console/src/serve.rs", "console/src/prometheus/elsewhere.rs", "console/src/jaeger/elsewhere.rs", "console/src/jaeger/model.rs"],
  findings: ["api/src/validate", "api/src/validate.rs", "api/src/read.rs", "pilot/src/unsupported", "pilot/src/unsupported.rs", "console/src/api/findings"],
})) {
  test(`every sentence of ${area} has its Korean`, () => {
    const missing = new Set<string>();
    for (const path of sources(crates, paths)) {
      for (const text of texts(path)) {
        if (unsaid.includes(text)) continue;
        const one = filled(text);
        if (say(one) === one) missing.add(`${path.slice(crates.length + 1)}: ${text}`);
      }
    }
    assert.ok(!missing.size, `no Korean for:\n${[...missing].join("\n")}`);
  });
}
