// A colour for each service of a trace: far from its neighbours' on the circle, of the same lightness, none the red of errors.
const hues = [178, 250, 310, 80, 130, 215, 280, 55];

export const colourOf = (service: string, services: readonly string[]): string =>
  `oklch(0.66 0.1 ${hues[Math.max(0, services.indexOf(service)) % hues.length]})`;
