import type { Connection } from "../api/connection";
import { ApiError, SignedOut } from "../api/errors";
import { EventParser } from "./sse";

/** How a stream stands. `failures` counts attempts in a row that did not lead to an open stream. */
export type StreamState =
  | { status: "connecting"; failures: number }
  | { status: "open"; failures: 0 }
  | { status: "waiting"; failures: number; until: number }
  | { status: "ended" }
  | { status: "refused"; error: Error };

export interface StreamOptions {
  connection: Connection;
  path: string;
  onEvent: (kind: string, data: unknown) => void;
  onState: (state: StreamState) => void;
}

export interface Stream {
  close: () => void;
  /** Tries at once where it waits: the network is back, or somebody looks at the page again. */
  wake: () => void;
}

// The server beats every 15 s.
export const SILENCE_MS = 40_000;
const FIRST_DELAY_MS = 2_000;
const LONGEST_DELAY_MS = 30_000;
// A stream that was open this long has not failed when it ends: a server was restarted, or a proxy cut it.
const STEADY_MS = 10_000;
const LEAST_LIFE_MS = 1_000;
// Over HTTP/1.1 a browser has six connections to a server for all its tabs together: a seventh tab with a stream of its
// own would show nothing at all. Whoever only passes by another tab costs no new stream.
export const REST_AFTER_MS = 5_000;

/**
 * Follows a stream until it has ended, or is closed; whatever breaks it, it goes on after the last event seen. While
 * nobody can see the page it rests.
 */
export function openStream(options: StreamOptions): Stream {
  return new Follower(options);
}

class Silence extends Error {}
class Rest extends Error {}

class Follower implements Stream {
  readonly #options: StreamOptions;
  readonly #closing = new AbortController();
  #lastEventId: string | null = null;
  #retryMs = FIRST_DELAY_MS;
  #failures = 0;
  #skipCache = false;
  #wake: (() => void) | null = null;
  #attempt: AbortController | null = null;
  #resting: ReturnType<typeof setTimeout> | undefined;

  constructor(options: StreamOptions) {
    this.#options = options;
    document.addEventListener("visibilitychange", this.#onVisibility, { signal: this.#closing.signal });
    void this.#run();
  }

  close = (): void => {
    this.#closing.abort();
    clearTimeout(this.#resting);
    this.#wake?.();
  };

  wake = (): void => this.#wake?.();

  async #run(): Promise<void> {
    let isRenewal = false;
    for (;;) {
      isRenewal = !(await this.#restWhileHidden()) && isRenewal;
      if (this.#closing.signal.aborted) return;
      // A token's end is no break: nothing is said of it as long as the next attempt goes well.
      if (!isRenewal) this.#say({ status: "connecting", failures: this.#failures });
      isRenewal = false;
      const began = Date.now();
      let after = 0;
      try {
        const end = await this.#follow();
        if (end === "end") return this.#say({ status: "ended" });
        if (end === "reauthenticate") {
          this.#skipCache = true;
          // A clock that is wrong would end every stream at once.
          isRenewal = Date.now() - began >= LEAST_LIFE_MS;
          if (isRenewal) continue;
        }
        if (Date.now() - began >= STEADY_MS) this.#failures = 0;
      } catch (error) {
        if (this.#closing.signal.aborted) return;
        if (this.#attempt?.signal.reason instanceof Rest) continue;
        if (isFinal(error)) return this.#say({ status: "refused", error });
        if (error instanceof ApiError) {
          if (error.status === 400) this.#forget();
          after = (error.retryAfter ?? 0) * 1000;
        }
      }
      this.#failures += 1;
      await this.#pause(Math.max(after, this.#delay()));
    }
  }

  /** How the stream has ended: by what its last event says, or because the connection was closed. */
  async #follow(): Promise<"end" | "reauthenticate" | "closed"> {
    const attempt = new AbortController();
    this.#attempt = attempt;
    const signal = AbortSignal.any([attempt.signal, this.#closing.signal]);
    let watchdog = setTimeout(() => attempt.abort(new Silence()), SILENCE_MS);
    try {
      const response = await this.#open(signal);
      const reader = (response.body as ReadableStream<Uint8Array>).getReader();
      const parser = new EventParser(this.#lastEventId);
      signal.addEventListener("abort", () => void reader.cancel().catch(() => {}), { once: true });
      for (;;) {
        const { done, value } = await reader.read();
        if (signal.aborted) throw signal.reason;
        if (done) return "closed";
        clearTimeout(watchdog);
        watchdog = setTimeout(() => attempt.abort(new Silence()), SILENCE_MS);
        this.#options.connection.heard();
        const last = this.#take(parser, value);
        if (last) {
          void reader.cancel().catch(() => {});
          return last;
        }
      }
    } finally {
      clearTimeout(watchdog);
    }
  }

  async #open(signal: AbortSignal): Promise<Response> {
    const headers: Record<string, string> = { Accept: "text/event-stream" };
    if (this.#lastEventId !== null) headers["Last-Event-ID"] = this.#lastEventId;
    const skipCache = this.#skipCache;
    const { connection, path } = this.#options;
    const response = await connection.get(path, { headers, signal, skipCache, quiet: true, cache: "no-store" });
    this.#skipCache = false;
    this.#say({ status: "open", failures: 0 });
    return response;
  }

  #take(parser: EventParser, bytes: Uint8Array): "end" | "reauthenticate" | null {
    const events = parser.push(bytes);
    if (parser.retry !== null) this.#retryMs = parser.retry;
    for (const event of events) {
      this.#lastEventId = event.lastEventId;
      if (event.kind === "reauthenticate") return "reauthenticate";
      if (event.kind === "ready") this.#failures = 0;
      this.#options.onEvent(event.kind, parsed(event.data));
      if (event.kind === "end") return "end";
    }
    this.#lastEventId = parser.lastEventId;
    return null;
  }

  /** The server does not know the id that it is asked to go on after: it begins anew, and what was missed is gone. */
  #forget(): void {
    if (this.#lastEventId === null) return;
    this.#lastEventId = null;
    this.#options.onEvent("reset", {});
  }

  #delay(): number {
    const longest = Math.min(LONGEST_DELAY_MS, this.#retryMs * 2 ** (this.#failures - 1));
    // Pages that lost the same server do not all come back at once.
    return longest * (0.5 + Math.random() / 2);
  }

  async #pause(ms: number): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#say({ status: "waiting", failures: this.#failures, until: Date.now() + ms });
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
    this.#wake = null;
  }

  #onVisibility = (): void => {
    clearTimeout(this.#resting);
    if (isHidden()) this.#resting = setTimeout(() => this.#attempt?.abort(new Rest()), REST_AFTER_MS);
    else this.#wake?.();
  };

  /** Waits for somebody to look at the page; false where somebody does. */
  async #restWhileHidden(): Promise<boolean> {
    if (!isHidden()) return false;
    while (isHidden() && !this.#closing.signal.aborted) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    this.#wake = null;
    return true;
  }

  #say(state: StreamState): void {
    if (!this.#closing.signal.aborted) this.#options.onState(state);
  }
}

function isHidden(): boolean {
  return document.visibilityState === "hidden";
}

/** Whether asking again would give the same answer: no session, no rights, no such job. */
function isFinal(error: unknown): error is Error {
  if (error instanceof SignedOut) return true;
  return error instanceof ApiError && [401, 403, 404].includes(error.status);
}

function parsed(data: string): unknown {
  try {
    return JSON.parse(data);
  } catch {
    return null;
  }
}
