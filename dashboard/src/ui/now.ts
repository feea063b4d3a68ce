import { useSyncExternalStore } from "react";

// One clock for all that is shown relative to now: a hundred rows are one timer.
const TICK_MS = 1_000;
const listeners = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;
let now = Date.now();

function subscribe(listener: () => void): () => void {
  listeners.add(listener);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const one of listeners) one();
  }, TICK_MS);
  return () => {
    listeners.delete(listener);
    if (listeners.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  };
}

const still = () => () => {};

function current(): number {
  // Without a listener nobody keeps it going.
  if (timer === undefined && Date.now() - now > TICK_MS) now = Date.now();
  return now;
}

/** The present time in milliseconds; it moves every second where that is asked for. */
export function useNow(moving = true): number {
  return useSyncExternalStore(moving ? subscribe : still, current);
}
