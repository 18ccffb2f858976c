// Envoy's response flags in words.
import { t } from "../i18n/index.ts";

const known = ["UH", "UF", "UO", "NR", "URX", "UT", "DC", "LH", "UR", "UC", "DI", "FI", "RL", "UAEX", "IH", "DPE", "NC", "DT"] as const;

/** `UC: the upstream closed the connection`, one flag a line; of what is not known its letters. */
export const flagText = (text: string): string => text.split(",").map((flag) => {
  const one = known.find((f) => f === flag.trim());
  return one ? `${one}: ${t(`flag.${one}`)}` : flag;
}).join("\n");
