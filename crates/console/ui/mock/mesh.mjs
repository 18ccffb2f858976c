// The control plane, certificates and proxies.
import { noise } from "./world.mjs";

export function mesh({ world }, at) {
  const day = 86400;
  const proxies = world.workloads.filter((w) => w.sidecar).flatMap((w) => Array.from({ length: w.replicas }, (_, i) => {
    const rejected = w.name === "notify" && i === 1;
    const stale = w.name === "web-canary";
    return { namespace: w.namespace, workload: w.name, pod: `${w.name}-7c9f5d-${["x2k4v", "b8m2q", "k1z9t"][i % 3]}`, version: stale ? "0.0.9" : "0.1.0", sync: rejected ? "rejected" : stale ? "stale" : "synced", revision: rejected ? "r4180" : "r4182", since: at - (rejected ? 5400 : 3600 * (1 + 30 * noise(w.name, i))), error: rejected ? "RDS 9000: route 2: regex [a-z( : unclosed group" : "", certificateExpires: at + day * (rejected ? 0.04 : 0.4 + 0.6 * noise("c", w.name, i)), memory: (11 + 6 * noise("m", w.name, i)) * 2 ** 20 };
  }));
  return {
    controlPlane: [{ name: "varka", namespace: "istio-system", version: "0.1.0", replicas: 2, ready: 2, revision: "r4182", convergence: 38, cpu: 0.021, memory: 41 * 2 ** 20 }],
    certificates: [
      { role: "ca", subject: "CN=cluster.local", issuer: "CN=cluster.local", notBefore: at - 20 * day, notAfter: at + 3630 * day, namespace: "istio-system", workload: "" },
      { role: "ingress", subject: "CN=blog.jiminhome.shop", issuer: "CN=Varka local CA", notBefore: at - 80 * day, notAfter: at + 9 * day, namespace: "blog-system", workload: "" },
      { role: "workload", subject: "spiffe://cluster.local/ns/platform/sa/notify", issuer: "CN=cluster.local", notBefore: at - 0.96 * day, notAfter: at + 0.04 * day, namespace: "platform", workload: "notify" },
    ],
    proxies,
    store: { samples: 18_400_000, spans: 421_000, lines: 1_250_000, bytes: 412 * 2 ** 20, limit: 2 * 2 ** 30, dropped: 0, oldest: at - 6.2 * day },
    mtls: { mode: "PERMISSIVE" },
    settings: [
      { name: "outboundTrafficPolicy", value: "ALLOW_ANY", meaning: "what becomes of requests to hosts that the mesh does not know" },
      { name: "trustDomain", value: "cluster.local", meaning: "the first part of every identity" },
      { name: "enableAutoMtls", value: "true", meaning: "whether clients use mutual TLS towards whoever has a sidecar" },
    ],
  };
}
