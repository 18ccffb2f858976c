// As much of Prometheus' query_range as the console asks: rates, quantiles and bytes of flows that labels choose.

export function queryRange(world, query, start, end, step) {
  const metric = /istio_[a-z_]+/.exec(query)?.[0];
  const matchers = [...(/\{([^}]*)\}/.exec(query)?.[1] ?? "").matchAll(/(\w+)(=~|=|!=|!~)"([^"]*)"/g)].map(([, name, op, value]) => ({ name, op, value }));
  const quantile = /histogram_quantile\(([\d.]+)/.exec(query)?.[1];
  const values = [];
  // Of a mesh of thousands of flows every tenth point is counted.
  const coarse = world.kept ? 10 : 1;
  for (let at = start; at <= end && values.length < 11_000; at += step) values.push([at, values.length % coarse ? values.at(-1)[1] : String(valueAt(world, metric, matchers, quantile, at))]);
  return { status: "success", data: { resultType: "matrix", result: values.length ? [{ metric: {}, values }] : [] } };
}

function valueAt(world, metric, matchers, quantile, at) {
  let sum = 0;
  let weight = 0;
  for (const f of world.flows(at)) {
    const tcp = f.protocol === "tcp";
    if (metric?.startsWith("istio_tcp") !== tcp) continue;
    const from = world.byName.get(f.from);
    const to = world.byName.get(f.to);
    const [ns, service] = f.service.replace("entry:", "").split("/");
    const labels = {
      source_workload: from?.name, source_workload_namespace: from?.namespace, source_canonical_service: from?.app, source_canonical_revision: from?.version,
      destination_workload: to?.name, destination_workload_namespace: to?.namespace, destination_canonical_service: to?.app, destination_canonical_revision: to?.version,
      connection_security_policy: f.mtls ? "mutual_tls" : "none", destination_service_name: service, destination_service_namespace: ns,
    };
    for (const r of f.responses.length ? f.responses : [{ code: "", share: 1 }]) {
      labels.response_code = r.code;
      if (!matchers.every((m) => m.name === "reporter" || matches(labels[m.name] ?? "", m))) continue;
      const rate = f.rate * r.share;
      if (quantile) { sum += f.times[{ 0.5: 0, 0.95: 1, 0.99: 2 }[quantile] ?? 1] * rate; weight += rate; } else sum += metric === "istio_tcp_sent_bytes_total" ? rate * 0.7 : rate;
    }
  }
  return quantile ? (weight ? sum / weight : NaN) : sum;
}

function matches(value, { op, value: wanted }) {
  const is = op.endsWith("~") ? new RegExp(`^(?:${wanted})$`).test(value) : value === wanted;
  return op.startsWith("!") ? !is : is;
}
