import { QueryClient } from "@tanstack/react-query";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { keys } from "../api/queries";
import { connected, FakeApi, FakeStream, failure, noNetwork } from "../testing/api";
import { JobsLive } from "./jobs";
import { liveMode } from "./mode";

const ROUTE = "GET /api/jobs/stream";

let api: FakeApi;
let cache: QueryClient;
let live: JobsLive;
let connection: ReturnType<typeof connected>;
let asked: string[];
let stop: () => void = () => {};

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(1);
  api = new FakeApi();
  cache = new QueryClient();
  connection = connected();
  live = new JobsLive(connection, cache);
  asked = [];
  vi.spyOn(cache, "invalidateQueries").mockImplementation(async (filters) => {
    asked.push(filters?.queryKey?.join("/") ?? "all");
  });
});

afterEach(() => {
  stop();
  vi.useRealTimers();
});

const settle = (ms = 0) => vi.advanceTimersByTimeAsync(ms);
const mode = () => liveMode(live.state.get(), connection.reachable.get());

describe("the stream of jobs", () => {
  it("has everything asked for again when it has caught up, and what a change touches when it comes", async () => {
    const stream = new FakeStream();
    api.on(ROUTE, stream.answer);
    stop = live.start();
    await settle();
    stream.event("ready", {}, "1");
    await settle();
    expect(asked).toEqual(["all"]);
    stream.event("status", { jobId: "a", status: "completed" }, "2");
    stream.event("status", { jobId: "a", status: "completed" }, "3");
    await settle(10_000);
    expect(new Set(asked.slice(1))).toEqual(new Set(["job/a", "explain/a", "jobs", "job-types", "stats"]));
    expect(asked).toHaveLength(6);
  });

  it("asks for a list at most once in a while, however many jobs change", async () => {
    const stream = new FakeStream();
    api.on(ROUTE, stream.answer);
    stop = live.start();
    await settle();
    for (let second = 0; second < 30; second += 1) {
      for (let number = 0; number < 20; number += 1) stream.event("accepted", { jobId: `${number}` }, `${number}`);
      await settle(1_000);
    }
    expect(asked.filter((key) => key === "jobs").length).toBeLessThanOrEqual(30_000 / 1_500);
    expect(asked.filter((key) => key === "stats").length).toBeLessThanOrEqual(6);
  });

  it("shows progress as it is told, without asking for the job", async () => {
    const stream = new FakeStream();
    api.on(ROUTE, stream.answer);
    cache.setQueryData(keys.job("a"), { id: "a", progress: null });
    cache.setQueryData([...keys.jobs, {}], { jobs: [{ id: "b" }, { id: "a", progress: null }] });
    stop = live.start();
    await settle();
    const progress = { itemsProcessed: 3, itemsTotal: 9, phase: "crawling" };
    stream.event("progress", { jobId: "a", progress }, "2");
    await settle(1_000);
    expect(cache.getQueryData(keys.job("a"))).toEqual({ id: "a", progress });
    expect(cache.getQueryData([...keys.jobs, {}])).toEqual({ jobs: [{ id: "b" }, { id: "a", progress }] });
    expect(asked).not.toContain("job/a");
  });

  it("has everything asked for again after a reset, and after a break", async () => {
    const [first, second] = [new FakeStream(), new FakeStream()];
    api.on(ROUTE, first.answer, second.answer);
    stop = live.start();
    await settle();
    first.event("ready", {}, "1");
    first.event("reset", {}, "9");
    await settle();
    expect(asked).toEqual(["all", "all"]);
    first.end();
    await settle(2_000);
    second.event("ready", {}, "10");
    await settle();
    expect(asked).toEqual(["all", "all", "maintenance", "all"]);
  });

  it("is live all along while its token is renewed, and has nothing asked for again unless that fails", async () => {
    const [first, second, third] = [new FakeStream(), new FakeStream(), new FakeStream()];
    api.on(ROUTE, first.answer, second.answer, noNetwork, third.answer);
    stop = live.start();
    await settle();
    const modes = new Set<string>();
    live.state.subscribe(() => modes.add(mode()));
    first.event("ready", {}, "1");
    await settle(30_000);
    first.event("reauthenticate", {});
    await settle();
    second.event("ready", {}, "1");
    await settle(30_000);
    expect(api.to(ROUTE)).toHaveLength(2);
    expect([...modes]).toEqual(["live"]);
    expect(asked).toEqual(["all"]);
    second.event("reauthenticate", {});
    await settle();
    expect(mode()).toBe("connecting");
    await settle(2_000);
    third.event("ready", {}, "1");
    await settle();
    expect(asked).toEqual(["all", "maintenance", "all"]);
  });

  it("says how up to date the page is: live, connecting again, polling, offline, and live again", async () => {
    const [first, last] = [new FakeStream(), new FakeStream()];
    api.on(ROUTE, first.answer, noNetwork, noNetwork, last.answer);
    api.on("GET /api/maintenance", {}, noNetwork);
    expect(mode()).toBe("connecting");
    stop = live.start();
    await settle();
    expect(mode()).toBe("live");
    first.end();
    await settle();
    expect(mode()).toBe("connecting");
    await connection.get("/api/maintenance");
    await settle(2_000);
    expect(mode()).toBe("polling");
    await expect(connection.get("/api/maintenance")).rejects.toThrow();
    expect(mode()).toBe("offline");
    await settle(4_000);
    expect(mode()).toBe("offline");
    await settle(8_000);
    expect(mode()).toBe("live");
  });

  it("that alone is away is no scheduler that is away, and is tried no sooner for what is answered", async () => {
    api.on(ROUTE, noNetwork);
    api.on("GET /api/jobs", {});
    stop = live.start();
    const modes = new Set<string>();
    for (let second = 0; second < 60; second += 1) {
      await connection.get("/api/jobs");
      modes.add(mode());
      await settle(1_000);
      modes.add(mode());
    }
    expect([...modes]).toEqual(["connecting", "polling"]);
    // At once, and after 2, 4, 8, 16 and 30 s.
    expect(api.to(ROUTE)).toHaveLength(6);
  });

  it("has a small question asked when it breaks, and not at every attempt after that", async () => {
    api.on(ROUTE, noNetwork);
    stop = live.start();
    await settle(60_000);
    expect(asked).toEqual(["maintenance", "maintenance"]);
  });

  it("is tried at once when the scheduler, which was away, answers any other request again", async () => {
    const stream = new FakeStream();
    api.on(ROUTE, noNetwork, noNetwork, stream.answer);
    api.on("GET /api/system", noNetwork, {});
    stop = live.start();
    await settle(2_000);
    expect(api.to(ROUTE)).toHaveLength(2);
    await expect(connection.get("/api/system")).rejects.toThrow();
    await connection.get("/api/system");
    await settle();
    expect(mode()).toBe("live");
  });

  it("is not tried sooner because other requests are answered, while a server asks for patience", async () => {
    api.on(ROUTE, () => failure(503, "SERVICE_UNAVAILABLE", "Too many streams", {}, { "Retry-After": "20" }));
    api.on("GET /api/system", {});
    stop = live.start();
    await settle();
    for (let second = 0; second < 19; second += 1) {
      await connection.get("/api/system");
      await settle(1_000);
    }
    expect(api.to(ROUTE)).toHaveLength(1);
  });

  it("is opened again when a session that had ended begins again", async () => {
    const stream = new FakeStream();
    const refused = () => failure(401, "INVALID_TOKEN", "No");
    api.on(ROUTE, refused, refused, stream.answer);
    api.on("GET /api/system", {});
    stop = live.start();
    await settle();
    expect(connection.access.get()).toBe("expired");
    await connection.get("/api/system");
    await settle();
    expect(connection.access.get()).toBe("ok");
    expect(mode()).toBe("live");
  });

  it("says that the database is away while it is, and has all asked for again when it is back", async () => {
    const stream = new FakeStream();
    api.on(ROUTE, stream.answer);
    stop = live.start();
    await settle();
    stream.event("ready", {}, "4");
    stream.event("unavailable", { reason: "the database does not answer" });
    await settle();
    expect(live.trouble.get()).toBe("the database does not answer");
    expect(asked).toEqual(["all"]);
    stream.event("ready", {}, "4");
    await settle();
    expect(live.trouble.get()).toBeNull();
    expect(asked).toEqual(["all", "all"]);
  });
});
