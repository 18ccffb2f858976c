// Writes plain values as YAML, in the order that they have: block style, as people write manifests. Pure.

export type Plain = string | number | boolean | null | Plain[] | { [key: string]: Plain | undefined };

export function toYaml(value: Plain): string {
  return lines(value).join("\n") + "\n";
}

/** Several objects in one text. */
export const documents = (values: Plain[]): string => values.map(toYaml).join("---\n");

function lines(value: Plain): string[] {
  if (Array.isArray(value)) {
    return value.flatMap((item) => {
      if (isScalar(item) || isEmpty(item)) return [`- ${scalar(item)}`];
      const [first, ...rest] = lines(item);
      return [`- ${first}`, ...rest.map((l) => `  ${l}`)];
    });
  }
  if (value !== null && typeof value === "object") {
    return Object.entries(value).filter(([, v]) => v !== undefined).flatMap(([key, v]) => {
      const item = v as Plain;
      const name = plainKey(key);
      if (isScalar(item) || isEmpty(item)) return [`${name}: ${scalar(item)}`];
      // Lists stand under their key without more room, as kubectl writes them.
      return [`${name}:`, ...lines(item).map((l) => (Array.isArray(item) ? l : `  ${l}`))];
    });
  }
  return [scalar(value)];
}

const isScalar = (v: Plain): boolean => v === null || typeof v !== "object";
const isEmpty = (v: Plain): boolean => v !== null && typeof v === "object" && Object.keys(v).length === 0;

function scalar(v: Plain): string {
  if (Array.isArray(v)) return "[]";
  if (v !== null && typeof v === "object") return "{}";
  return typeof v === "string" ? text(v) : String(v);
}

const plainKey = (key: string): string => (/^[A-Za-z_][\w./-]*$/.test(key) ? key : JSON.stringify(key));

/** Without quotes only where it cannot be taken for anything but a string. */
function text(s: string): string {
  const safe = (/^[A-Za-z_/][\w ./:@=,-]*$/.test(s) || /^\d+(ms|s|m|h)$/.test(s)) && !/:\s|\s#|\s$|:$/.test(s) && !/^(true|false|null|yes|no|on|off|y|n|~)$/i.test(s);
  return safe ? s : JSON.stringify(s);
}
