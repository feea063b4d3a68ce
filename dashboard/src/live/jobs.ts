import type { QueryClient } from "@tanstack/react-query";
import type { Connection } from "../api/connection";
import { keys } from "../api/queries";
import { Store } from "../api/store";
import type { Job, JobPage } from "../api/types";
import { FAILURES_BEFORE_POLLING } from "./mode";
import { openStream, type Stream, type StreamState } from "./stream";

interface Change {
  jobId?: string;
  progress?: Job["progress"];
}

// How often each kind of answer is asked for again at most while changes come all the time.
const PACE_MS = { job: 400, explain: 1_500, jobs: 1_500, types: 3_000, stats: 5_000 } as const;
type Part = keyof typeof PACE_MS;

/** Follows the stream of all jobs' changes, and has whatever is shown asked for again when it has changed. */
export class JobsLive {
  readonly state = new Store<StreamState>({ status: "connecting", failures: 0 });
  /** Why the scheduler itself cannot tell of changes at the moment: its database is away. */
  readonly trouble = new Store<string | null>(null);
  readonly #queries: QueryClient;
  readonly #connection: Connection;
  #stream: Stream | null = null;
  #isCurrent = false;
  readonly #dirty = new Map<Part, Set<string>>();
  readonly #timers = new Map<Part, ReturnType<typeof setTimeout>>();

  constructor(connection: Connection, queries: QueryClient) {
    this.#connection = connection;
    this.#queries = queries;
  }

  start(): () => void {
    const { access, reachable } = this.#connection;
    this.#open();
    const wake = () => this.#stream?.wake();
    // A session that begins again needs a stream again; a scheduler that answers again is worth an attempt at once.
    const unsubscribe = [
      access.subscribe(() => {
        if (access.get() === "ok" && this.state.get().status === "refused") this.#open();
      }),
      reachable.subscribe(() => {
        if (reachable.get()) wake();
      }),
    ];
    window.addEventListener("online", wake);
    return () => {
      for (const stop of unsubscribe) stop();
      window.removeEventListener("online", wake);
      this.#stream?.close();
      for (const timer of this.#timers.values()) clearTimeout(timer);
      this.#timers.clear();
    };
  }

  #open(): void {
    this.#stream?.close();
    this.#isCurrent = false;
    this.#stream = openStream({
      connection: this.#connection,
      path: "/api/jobs/stream",
      onEvent: this.#on,
      onState: this.#onState,
    });
  }

  #onState = (state: StreamState): void => {
    // An attempt that goes on after the last event seen misses nothing; only one that came to nothing may have.
    if (state.status !== "open" && state.status !== "connecting") this.#isCurrent = false;
    this.state.set(state);
    // Whether the stream alone is away or the whole scheduler, a small question that every page asks finds out at once.
    if (state.status === "waiting" && state.failures <= FAILURES_BEFORE_POLLING) {
      void this.#queries.invalidateQueries({ queryKey: keys.maintenance });
    }
  };

  #on = (kind: string, data: unknown): void => {
    const change = (data ?? {}) as Change;
    if (kind === "unavailable") {
      const { reason } = (data ?? {}) as { reason?: string };
      // What is asked for meanwhile fails; the stream says ready when it is worth asking again.
      this.#isCurrent = false;
      this.trouble.set(reason ?? "The scheduler's database does not answer");
      return;
    }
    this.trouble.set(null);
    if (kind === "ready" || kind === "reset") {
      // What is shown was asked for before the stream was listening, or while it was broken.
      if (kind === "reset" || !this.#isCurrent) void this.#queries.invalidateQueries();
      this.#isCurrent = kind === "ready" || this.#isCurrent;
    } else if (change.jobId) this.#note(kind, change.jobId, change);
  };

  #note(kind: string, jobId: string, change: Change): void {
    if (kind === "progress") {
      this.#showProgress(jobId, change.progress ?? null);
      this.#mark("explain", jobId);
      return;
    }
    this.#mark("job", jobId);
    this.#mark("explain", jobId);
    this.#mark("jobs", jobId);
    this.#mark("types", jobId);
    if (kind !== "waiting" && kind !== "dispatched") this.#mark("stats", jobId);
  }

  /** The progress as the stream told it: the rows that show the job need not be asked for again. */
  #showProgress(jobId: string, progress: Job["progress"]): void {
    this.#queries.setQueryData<Job>(keys.job(jobId), (job) => job && { ...job, progress });
    this.#queries.setQueriesData<JobPage>({ queryKey: keys.jobs }, (page) => {
      if (!page?.jobs.some((job) => job.id === jobId)) return page;
      return { ...page, jobs: page.jobs.map((job) => (job.id === jobId ? { ...job, progress } : job)) };
    });
  }

  #mark(part: Part, jobId: string): void {
    const marked = this.#dirty.get(part) ?? new Set();
    this.#dirty.set(part, marked.add(jobId));
    if (this.#timers.has(part)) return;
    this.#timers.set(
      part,
      setTimeout(() => this.#refresh(part), PACE_MS[part]),
    );
  }

  #refresh(part: Part): void {
    this.#timers.delete(part);
    const marked = this.#dirty.get(part) ?? new Set();
    this.#dirty.delete(part);
    const again = (queryKey: readonly unknown[]) => void this.#queries.invalidateQueries({ queryKey });
    if (part === "job") for (const id of marked) again(keys.job(id));
    else if (part === "explain") for (const id of marked) again(keys.explain(id));
    else again(keys[part]);
  }
}
