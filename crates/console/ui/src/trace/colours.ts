// A colour for each service of a trace: spread over the circle, of the same lightness, none of them the red of errors.
export function colourOf(service: string, services: readonly string[]): string {
  const i = Math.max(0, services.indexOf(service));
  const hue = (175 + i * 67) % 360;
  const safe = hue > 335 || hue < 25 ? (hue + 60) % 360 : hue;
  return `oklch(0.66 0.095 ${safe})`;
}
