import type { StreamState } from "./stream";

/** How up to date the page is, and by what means. */
export type LiveMode = "connecting" | "live" | "polling" | "offline";

// One break is healed by the next attempt; after two the page asks by itself.
export const FAILURES_BEFORE_POLLING = 2;

export function liveMode(stream: StreamState, reachable: boolean): LiveMode {
  if (!reachable) return "offline";
  if (stream.status === "open") return "live";
  if (stream.status === "refused" || stream.status === "ended") return "polling";
  return stream.failures >= FAILURES_BEFORE_POLLING ? "polling" : "connecting";
}
