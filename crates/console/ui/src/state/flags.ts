/** Envoy's response flags, in the words of its documentation; proper names, the same in every language. */
const flags: Record<string, string> = {
  UH: "no healthy upstream", UF: "upstream connection failure", UO: "upstream overflow (circuit breaking)", NR: "no route configured",
  URX: "upstream retry limit exceeded", UT: "upstream request timeout", DC: "downstream connection termination", LH: "local health check failed",
  UR: "upstream remote reset", UC: "upstream connection termination", DI: "delay injected", FI: "fault injected", RL: "rate limited",
  UAEX: "denied by the external authorization service", IH: "invalid header", DPE: "downstream protocol error", NC: "no cluster found", DT: "duration timeout",
};
export const flagText = (text: string): string => text.split(",").map((f) => `${f}: ${flags[f] ?? "?"}`).join("\n");
