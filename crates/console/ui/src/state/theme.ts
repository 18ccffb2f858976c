// Light, dark, or as the system has it: what was chosen before, and what the style sheets go by.
export type Theme = "auto" | "light" | "dark";

export function keptTheme(): Theme {
  try { return (localStorage.getItem("theme") as Theme | null) ?? "auto"; } catch { return "auto"; /* private mode */ }
}

export function wear(chosen: Theme): void {
  if (chosen === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
}
