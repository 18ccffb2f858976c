// Small signs of what Istio's resources do to a node, as paths on a grid of 12. The legend, panel and table say them in words.
import type { Node } from "../api/types.ts";

export const signs = {
  root: "M3 2v8l7-4z",
  gateway: "M1 6h7M5.5 3L8.5 6l-3 3M11 1.5v9",
  requestRouting: "M1 6h4l4-3.5M5 6l4 3.5M7.5 2.2l2.2-.2-.2 2.2M7.5 9.8l2.2.2-.2-2.2",
  trafficShifting: "M1.5 4h8M7.5 2l2 2-2 2M10.5 8h-8M4.5 6l-2 2 2 2",
  circuitBreaker: "M7 1L3 7h3l-1 4 4-6H6z",
  faultInjection: "M2.5 2.5l7 7M9.5 2.5l-7 7",
  requestTimeout: "M6 1.2a4.8 4.8 0 1 0 0 9.6 4.8 4.8 0 0 0 0-9.6zM6 3.2V6l2 1.4",
  mirroring: "M1.5 1.5h6v6h-6zM4.5 4.5h6v6h-6z",
  workloadEntry: "M1.5 2.5h9v6h-9zM4 10.5h4",
  outOfMesh: "M6 1.2a4.8 4.8 0 1 0 0 9.6 4.8 4.8 0 0 0 0-9.6zM2.6 9.4l6.8-6.8",
} as const;

export type Sign = keyof typeof signs;

export function signsOf(node: Node): Sign[] {
  const b = node.badges;
  const on: Record<Sign, boolean> = {
    root: node.root,
    gateway: b.gateway !== null,
    requestRouting: b.virtualService !== null || b.requestRouting,
    trafficShifting: b.trafficShifting || b.tcpTrafficShifting,
    circuitBreaker: b.circuitBreaker,
    faultInjection: b.faultInjection,
    requestTimeout: b.requestTimeout,
    mirroring: b.mirroring,
    workloadEntry: b.workloadEntries.length > 0,
    outOfMesh: node.outOfMesh,
  };
  return (Object.keys(signs) as Sign[]).filter((s) => on[s]);
}
