import type { Connection } from "../api/connection";
import { Store } from "../api/store";
import type { LogLine } from "../api/types";
import { FAILURES_BEFORE_POLLING } from "./mode";
import { openStream, type Stream, type StreamState } from "./stream";

/** How the log stands: `live` when all lines so far are there and new ones come as they are said. */
export type LogStatus = "connecting" | "live" | "waiting" | "unavailable" | "polling" | "ended" | "refused";

export interface LogView {
  lines: readonly LogLine[];
  status: LogStatus;
  /** Why no lines come, where the scheduler says. */
  reason: string | null;
  /** How many of the oldest lines were let go, because there are more than a page can hold. */
  dropped: number;
}

export const MOST_LINES = 20_000;
const FLUSH_MS = 100;
const POLL_MS = 2_000;

interface LogPage {
  logs: LogLine[];
  nextCursor: string | null;
}

/** A job's log: followed by its stream, asked for by the page while that is broken, every line once. */
export class JobLog {
  readonly view = new Store<LogView>({ lines: [], status: "connecting", reason: null, dropped: 0 });
  readonly #connection: Connection;
  readonly #jobId: string;
  readonly #known = new Set<string>();
  #lines: LogLine[] = [];
  #dropped = 0;
  #status: LogStatus = "connecting";
  #reason: string | null = null;
  #stream: Stream | null = null;
  #flushing: ReturnType<typeof setTimeout> | null = null;
  #polling: AbortController | null = null;
  #cursor: string | null = null;

  constructor(connection: Connection, jobId: string) {
    this.#connection = connection;
    this.#jobId = jobId;
  }

  start(): () => void {
    const path = `/api/jobs/${encodeURIComponent(this.#jobId)}/logs/stream`;
    this.#stream = openStream({ connection: this.#connection, path, onEvent: this.#on, onState: this.#onState });
    const { reachable } = this.#connection;
    const unsubscribe = reachable.subscribe(() => {
      if (reachable.get()) this.#stream?.wake();
    });
    return () => {
      unsubscribe();
      this.#stream?.close();
      this.#stopPolling();
      if (this.#flushing !== null) clearTimeout(this.#flushing);
      this.#flushing = null;
    };
  }

  #on = (kind: string, data: unknown): void => {
    if (kind === "log") this.#add([data as LogLine]);
    else if (kind === "reset") this.#clear();
    else if (kind === "ready") this.#become("live");
    else if (kind === "waiting" || kind === "unavailable") {
      this.#become(kind, (data as { reason?: string } | null)?.reason ?? null);
    }
  };

  #onState = (state: StreamState): void => {
    if (state.status === "ended") this.#become("ended");
    else if (state.status === "refused") this.#become("refused", state.error.message);
    else if (state.status === "waiting" && state.failures >= FAILURES_BEFORE_POLLING) this.#poll();
    if (state.status === "open" || state.status === "ended" || state.status === "refused") this.#stopPolling();
  };

  #become(status: LogStatus, reason: string | null = null): void {
    [this.#status, this.#reason] = [status, reason];
    this.#flushSoon();
  }

  #add(lines: readonly LogLine[]): void {
    for (const line of lines) {
      if (this.#known.has(line.id)) continue;
      this.#known.add(line.id);
      this.#lines.push(line);
    }
    if (this.#lines.length > MOST_LINES) {
      const gone = this.#lines.splice(0, this.#lines.length - MOST_LINES);
      // Their ids stay known: a page that is read again would bring them back.
      this.#dropped += gone.length;
    }
    this.#flushSoon();
  }

  #clear(): void {
    this.#known.clear();
    this.#lines = [];
    this.#dropped = 0;
    this.#flushSoon();
  }

  #flushSoon(): void {
    this.#flushing ??= setTimeout(() => {
      this.#flushing = null;
      this.view.set({ lines: [...this.#lines], status: this.#status, reason: this.#reason, dropped: this.#dropped });
    }, FLUSH_MS);
  }

  #poll(): void {
    if (this.#polling) return;
    const polling = new AbortController();
    this.#polling = polling;
    this.#become("polling");
    const next = async () => {
      try {
        while (await this.#readPage(polling.signal)) {
          // Until the last page for now.
        }
      } catch {
        // What is wrong, the connection knows; the next time may do.
      }
      if (!polling.signal.aborted) setTimeout(next, POLL_MS);
    };
    void next();
  }

  #stopPolling(): void {
    this.#polling?.abort();
    this.#polling = null;
  }

  /** Reads on from the last page that was read; true where another follows. */
  async #readPage(signal: AbortSignal): Promise<boolean> {
    const query = this.#cursor === null ? "" : `?cursor=${encodeURIComponent(this.#cursor)}`;
    const response = await this.#connection.get(`/api/jobs/${encodeURIComponent(this.#jobId)}/logs${query}`, {
      signal,
    });
    const page: LogPage = await response.json();
    if (signal.aborted) return false;
    this.#add(page.logs);
    if (page.nextCursor === null) return false;
    this.#cursor = page.nextCursor;
    return true;
  }
}
