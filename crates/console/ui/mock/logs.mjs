// Lines of the application and of the sidecar, made from the same traces, so that they belong together.
import { make } from "./tracing.mjs";
import { noise } from "./world.mjs";

const stamp = (second) => new Date(second * 1000).toISOString();

export function lines(world, namespace, workload, from, to) {
  const found = [];
  const pod = `${workload}-7c9f5d-x2k4v`;
  for (let s = Math.ceil(from / 3) * 3; s < to; s += 3) {
    const trace = make(world, s);
    const mine = trace.spans.filter((x) => trace.processes[x.processID].serviceName === `${workload}.${namespace}`);
    for (const span of mine) {
      const tag = (name) => span.tags.find((t) => t.key === name)?.value ?? "-";
      const direction = tag("span.kind") === "client" ? "outbound" : "inbound";
      const end = span.startTime + span.duration;
      const ms = Math.round(span.duration / 1000);
      const host = direction === "outbound" ? (tag("http.host") === "-" ? "was-service" : tag("http.host")) : workload === "was" ? "was-service" : "blog.jiminhome.shop";
      const code = String(trace.status);
      const flags = tag("response_flags");
      found.push({ at: end, pod, container: "istio-proxy", access: { method: "GET", path: trace.path, code, flags, details: flags === "UO" ? "upstream_reset_before_response_started{overflow}" : "via_upstream", duration: ms, host, cluster: tag("upstream_cluster"), upstream: "10.244.0.17:8080", direction, traceId: trace.traceID },
        text: `[${stamp(s)}] "GET ${trace.path} HTTP/1.1" ${code} ${flags} via_upstream - "-" 0 1843 ${ms} ${ms - 1} "10.244.0.9" "curl/8.5.0" "${trace.traceID.slice(0, 8)}" "${host}" "10.244.0.17:8080" ${tag("upstream_cluster")} - - - - default` });
      if (direction === "inbound") found.push({ at: span.startTime + Math.round(span.duration / 2), pod, container: workload, access: null, text: workload === "web" ? `10.244.0.9 - - [${stamp(s)}] "GET ${trace.path} HTTP/1.1" ${code} 1843 "-" "curl/8.5.0"` : `${stamp(s)} ${ms > 1000 ? " WARN slow query" : " INFO"} [http-nio-8080-exec-${1 + Math.floor(noise(s) * 9)}] c.b.PostController : GET ${trace.path} -> ${code} in ${ms} ms` });
    }
  }
  return found.sort((a, b) => a.at - b.at);
}

export function logs(world, q, to) {
  const limit = Number(q.get("limit") ?? 300);
  const all = lines(world, q.get("namespace"), q.get("workload"), to - 1800, to).filter((l) => l.at <= to * 1e6);
  const containers = (q.get("containers") ?? "").split(",").filter(Boolean);
  return all.filter((l) => !containers.length || containers.includes(l.container)).slice(-limit);
}
