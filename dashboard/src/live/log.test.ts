import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { connected, FakeApi, FakeStream, json, noNetwork } from "../testing/api";
import { JobLog } from "./log";

const STREAM = "GET /api/jobs/j1/logs/stream";
const PAGES = "GET /api/jobs/j1/logs";

let api: FakeApi;
let log: JobLog;
let stop: () => void;

const line = (number: number) => ({
  id: `line-${number}`,
  timestamp: "2026-11-27T10:00:00Z",
  level: "INFO",
  message: `said ${number}`,
  task: null,
});

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(1);
  api = new FakeApi();
  log = new JobLog(connected(), "j1");
});

afterEach(() => {
  stop();
  vi.useRealTimers();
});

const settle = (ms = 200) => vi.advanceTimersByTimeAsync(ms);
const said = () => log.view.get().lines.map((one) => one.message);

describe("a job's log", () => {
  it("is its lines in their order, each once, and ends with its stream", async () => {
    const stream = new FakeStream();
    api.on(STREAM, stream.answer);
    stop = log.start();
    await settle();
    for (const number of [1, 2, 2, 3]) stream.event("log", line(number), `${number}`);
    stream.event("ready", {}, "3");
    await settle();
    expect(said()).toEqual(["said 1", "said 2", "said 3"]);
    expect(log.view.get().status).toBe("live");
    stream.event("end", {}, "3");
    await settle();
    expect(log.view.get().status).toBe("ended");
  });

  it("says why nothing comes: no run yet, or Prefect is away", async () => {
    const stream = new FakeStream();
    api.on(STREAM, stream.answer);
    stop = log.start();
    await settle();
    stream.event("waiting", { reason: "The job has no flow run yet" });
    await settle();
    expect(log.view.get()).toMatchObject({ status: "waiting", reason: "The job has no flow run yet" });
    stream.event("unavailable", { reason: "Prefect does not answer" });
    await settle();
    expect(log.view.get()).toMatchObject({ status: "unavailable", reason: "Prefect does not answer" });
    stream.event("ready", {});
    await settle();
    expect(log.view.get()).toMatchObject({ status: "live", reason: null });
  });

  it("is asked for by pages while its stream is broken, from the last page on, and goes on when it is back", async () => {
    const [first, second] = [new FakeStream(), new FakeStream()];
    api.on(STREAM, first.answer, noNetwork, noNetwork, noNetwork, second.answer);
    api.on(
      PAGES,
      () => json({ logs: [line(1), line(2)], nextCursor: "c1" }),
      () => json({ logs: [line(3)], nextCursor: null }),
      () => json({ logs: [line(3), line(4)], nextCursor: null }),
    );
    stop = log.start();
    await settle();
    first.event("log", line(1), "1");
    first.breakOff();
    await settle(2_100);
    expect(log.view.get().status).toBe("polling");
    expect(said()).toEqual(["said 1", "said 2", "said 3"]);
    await settle(2_000);
    expect(said()).toEqual(["said 1", "said 2", "said 3", "said 4"]);
    expect(api.to(PAGES).map((asked) => asked.path.split("?")[1])).toEqual([undefined, "cursor=c1", "cursor=c1"]);

    // Pages that are answered do not shorten the stream's patience.
    await settle(28_000);
    second.event("log", line(5), "5");
    second.event("ready", {}, "5");
    await settle();
    const pages = api.to(PAGES).length;
    await settle(20_000);
    expect(said().at(-1)).toBe("said 5");
    expect(log.view.get().status).toBe("live");
    expect(api.to(PAGES)).toHaveLength(pages);
    expect(api.to(STREAM).at(-1)?.headers.get("Last-Event-ID")).toBe("1");
  });

  it("begins anew where the stream does not know its place any more", async () => {
    const stream = new FakeStream();
    api.on(STREAM, stream.answer);
    stop = log.start();
    await settle();
    stream.event("log", line(1), "1");
    stream.event("reset", {});
    stream.event("log", line(1), "1");
    await settle();
    expect(said()).toEqual(["said 1"]);
  });

  it("tells many lines at once, not each by itself", async () => {
    const stream = new FakeStream();
    api.on(STREAM, stream.answer);
    stop = log.start();
    await settle();
    let told = 0;
    log.view.subscribe(() => {
      told += 1;
    });
    for (let number = 0; number < 2_000; number += 1) stream.event("log", line(number), `${number}`);
    await settle();
    expect(said()).toHaveLength(2_000);
    expect(told).toBeLessThan(4);
  });
});
