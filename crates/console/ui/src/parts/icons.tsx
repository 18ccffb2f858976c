// Line icons, drawn for a grid of 20. Decoration only: the word stands beside each, or in a label.
import type { JSX } from "preact";

const paths = {
  overview: "M3 3h6v7H3zM11 3h6v4h-6zM11 9h6v8h-6zM3 12h6v5H3z",
  graph: "M5 7.5a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM15 12a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM5.5 17a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM7 6.3l6 2.9M7.2 14.2l5.9-3.3",
  applications: "M3.5 3.5h5v5h-5zM11.5 3.5h5v5h-5zM3.5 11.5h5v5h-5zM11.5 11.5h5v5h-5z",
  workloads: "M10 2.5l6.5 3.7v7.6L10 17.5l-6.5-3.7V6.2zM10 10l6.3-3.7M10 10v7.3M10 10L3.7 6.3",
  services: "M10 2.5l7.5 7.5-7.5 7.5L2.5 10z",
  config: "M4 3.5h8l4 4v9H4zM12 3.5v4h4M7 11h6M7 13.8h4",
  logs: "M3.5 5h13M3.5 8.4h9M3.5 11.7h11M3.5 15h7",
  traces: "M3 4.5h9M6 8.2h8M8 11.9h9M8 15.6h5",
  explain: "M10 17.5a7.5 7.5 0 1 0 0-15 7.5 7.5 0 0 0 0 15zM7.8 7.8a2.2 2.2 0 1 1 3.2 2c-.7.4-1 .8-1 1.7M10 14.2v.1",
  mesh: "M10 2.5l6.5 3.7v7.6L10 17.5l-6.5-3.7V6.2zM3.5 6.2L16.5 13.8M16.5 6.2L3.5 13.8M10 2.5v15",
  lock: "M5 9h10v7H5zM7 9V6.5a3 3 0 0 1 6 0V9",
  close: "M5 5l10 10M15 5L5 15",
  plus: "M10 4v12M4 10h12",
  minus: "M4 10h12",
  fit: "M3 7V3h4M13 3h4v4M17 13v4h-4M7 17H3v-4",
  chevron: "M6 8l4 4 4-4",
  check: "M4 10.5l4 4 8-9",
  help: "M7.8 7.4a2.3 2.3 0 1 1 3.3 2.1c-.8.4-1.1.9-1.1 1.9M10 14.4v.1",
  live: "M10 12a2 2 0 1 0 0-4 2 2 0 0 0 0 4zM6 14a5.6 5.6 0 0 1 0-8M14 6a5.6 5.6 0 0 1 0 8",
  search: "M9 14.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11zM13 13l4 4",
  play: "M6.5 4.2v11.6L15.5 10z",
  pause: "M7 4.5v11M13 4.5v11",
  pin: "M7 3h6l-.8 5 2.3 2.5h-9L7.8 8zM10 10.5V17",
  back: "M12 5l-5 5 5 5",
  forward: "M8 5l5 5-5 5",
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name, size = 18 }: { name: IconName; size?: number }): JSX.Element {
  return (
    <svg class="icon" width={size} height={size} viewBox="0 0 20 20" fill="none" stroke="currentColor" stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">
      <path d={paths[name]} />
    </svg>
  );
}
