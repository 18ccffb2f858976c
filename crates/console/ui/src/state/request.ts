// Reads what people type of a request: a workload with its namespace, and headers one a line. Pure.

/** `blog-system/web`; without a namespace it is `default`, as kubectl takes it. */
export function splitWorkload(text: string): { namespace: string; workload: string } {
  const [first, ...rest] = text.trim().split("/");
  return rest.length ? { namespace: first, workload: rest.join("/") } : { namespace: "default", workload: first };
}

/** Names in small letters, as HTTP/2 has them; lines without a colon are left out. */
export function headersOf(text: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const line of text.split("\n")) {
    const colon = line.indexOf(":", line.startsWith(":") ? 1 : 0);
    const name = line.slice(0, colon).trim().toLowerCase();
    if (colon > 0 && name) found[name] = line.slice(colon + 1).trim();
  }
  return found;
}
