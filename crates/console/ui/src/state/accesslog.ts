// Reads a line of Istio's default access log, so that it can be shown in columns. Pure; other lines are null.
import type { AccessEntry } from "../api/types.ts";

const LINE = /^\[([^\]]+)\] "(\S+) (\S+) [^"]*" (\d+) (\S+) (\S+) (\S+) "[^"]*" \d+ \d+ (\d+) \S+ "[^"]*" "[^"]*" "[^"]*" "([^"]*)" "([^"]*)" (\S+)/;

export function access(text: string): AccessEntry | null {
  const found = LINE.exec(text);
  if (!found) return null;
  const [, , method, path, code, flags, details, , duration, host, upstream, cluster] = found;
  return { method, path, code, flags, details, duration: Number(duration), host, cluster, upstream, direction: cluster.startsWith("inbound|") || cluster === "InboundPassthroughCluster" ? "inbound" : "outbound", traceId: null };
}
