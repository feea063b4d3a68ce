import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { connected, FakeApi, FakeStream, failure, noNetwork } from "../testing/api";
import { openStream, REST_AFTER_MS, SILENCE_MS, type Stream, type StreamState } from "./stream";

const ROUTE = "GET /api/jobs/stream";

let api: FakeApi;
let events: [string, unknown][];
let states: StreamState[];
let open: Stream;

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, "random").mockReturnValue(1);
  api = new FakeApi();
  events = [];
  states = [];
});

afterEach(() => {
  open.close();
  vi.useRealTimers();
});

function follow(getToken = vi.fn(async () => "token-1" as string | null)) {
  open = openStream({
    connection: connected(getToken),
    path: "/api/jobs/stream",
    onEvent: (kind, data) => events.push([kind, data]),
    onState: (state) => states.push(state),
  });
  return getToken;
}

function show(state: "visible" | "hidden") {
  vi.spyOn(document, "visibilityState", "get").mockReturnValue(state);
  document.dispatchEvent(new Event("visibilitychange"));
}

const settle = (ms = 0) => vi.advanceTimersByTimeAsync(ms);
const status = () => states.at(-1)?.status;
const attempts = () => api.to(ROUTE).length;
const resumedAt = () => api.to(ROUTE).map((asked) => asked.headers.get("Last-Event-ID"));

describe("a stream", () => {
  it("carries its token in a header, and tells its events in their order", async () => {
    const stream = new FakeStream();
    api.on(ROUTE, stream.answer);
    follow();
    await settle();
    stream.event("status", { jobId: "a" }, "1");
    stream.event("ready", { lastEventId: "1" }, "1");
    await settle();
    expect(api.to(ROUTE)[0]?.headers.get("Authorization")).toBe("Bearer token-1");
    expect(events).toEqual([
      ["status", { jobId: "a" }],
      ["ready", { lastEventId: "1" }],
    ]);
    expect(status()).toBe("open");
  });

  it("that breaks off goes on after the last event seen, also where only a heartbeat told its id", async () => {
    const [first, second, third] = [new FakeStream(), new FakeStream(), new FakeStream()];
    api.on(ROUTE, first.answer, second.answer, third.answer);
    follow();
    await settle();
    first.event("status", {}, "41");
    await settle();
    first.breakOff();
    await settle(2_000);
    second.say(": heartbeat\nid: 57\n\n");
    await settle();
    second.end();
    await settle(4_000);
    expect(resumedAt()).toEqual([null, "41", "57"]);
    expect(status()).toBe("open");
  });

  it("whose events were kept no longer says reset and goes on from the id that came with it", async () => {
    const [first, second] = [new FakeStream(), new FakeStream()];
    api.on(ROUTE, first.answer, second.answer);
    follow();
    await settle();
    first.event("reset", { lastEventId: "900" }, "900");
    await settle();
    first.end();
    await settle(2_000);
    expect(events).toEqual([["reset", { lastEventId: "900" }]]);
    expect(resumedAt()).toEqual([null, "900"]);
  });

  it("whose id the server does not know is a reset too, and begins anew", async () => {
    const [first, second] = [new FakeStream(), new FakeStream()];
    api.on(ROUTE, first.answer, () => failure(400, "INVALID_REQUEST", "Last-Event-ID: not an id"), second.answer);
    follow();
    await settle();
    first.event("status", {}, "nonsense");
    await settle();
    first.end();
    await settle(2_000);
    await settle(4_000);
    expect(events.map(([kind]) => kind)).toEqual(["status", "reset"]);
    expect(resumedAt()).toEqual([null, "nonsense", null]);
  });

  it("is opened again at once with a new token when it is asked to reauthenticate", async () => {
    const [first, second] = [new FakeStream(), new FakeStream()];
    api.on(ROUTE, first.answer, second.answer);
    const getToken = follow();
    await settle();
    first.event("status", {}, "5");
    await settle(60_000 - SILENCE_MS + 15_000);
    first.event("reauthenticate", { reason: "The token's time is over" }, undefined);
    await settle();
    expect(resumedAt()).toEqual([null, "5"]);
    expect(getToken.mock.calls.at(-1)).toEqual([{ skipCache: true }]);
    expect(events.map(([kind]) => kind)).toEqual(["status"]);
    expect(states.map((state) => state.status)).toEqual(["connecting", "open", "open"]);
    expect(first.isCancelled).toBe(true);
  });

  it("that is asked to reauthenticate as soon as it is open waits, so that a wrong clock costs no storm", async () => {
    api.on(ROUTE, () => {
      const stream = new FakeStream();
      setTimeout(() => stream.event("reauthenticate", {}), 1);
      return stream.answer();
    });
    follow();
    await settle(10_000);
    expect(attempts()).toBeLessThan(5);
  });

  it("that falls silent is given up and opened again", async () => {
    const [first, second] = [new FakeStream(), new FakeStream()];
    api.on(ROUTE, first.answer, second.answer);
    follow();
    await settle();
    await settle(SILENCE_MS - 1_000);
    first.say(": heartbeat\n\n");
    await settle(SILENCE_MS - 1_000);
    expect(attempts()).toBe(1);
    await settle(1_000);
    await settle(2_000);
    expect(attempts()).toBe(2);
    expect(first.isCancelled).toBe(true);
  });

  it("waits longer from failure to failure, at most half a minute, and says how many there were", async () => {
    api.on(ROUTE, noNetwork);
    follow();
    await settle();
    const waits = [2_000, 4_000, 8_000, 16_000, 30_000, 30_000];
    for (const [number, wait] of waits.entries()) {
      expect(states.at(-1)).toMatchObject({ status: "waiting", failures: number + 1 });
      await settle(wait - 1);
      expect(attempts()).toBe(number + 1);
      await settle(1);
      expect(attempts()).toBe(number + 2);
    }
  });

  it("waits as long as a busy server asks", async () => {
    api.on(ROUTE, () => failure(503, "SERVICE_UNAVAILABLE", "Too many streams", {}, { "Retry-After": "12" }));
    follow();
    await settle(11_999);
    expect(attempts()).toBe(1);
    await settle(1);
    expect(attempts()).toBe(2);
  });

  it("is tried at once when it is woken", async () => {
    const stream = new FakeStream();
    api.on(ROUTE, noNetwork, noNetwork, noNetwork, stream.answer);
    follow();
    await settle(6_000);
    expect(attempts()).toBe(3);
    open.wake();
    await settle();
    expect(attempts()).toBe(4);
    expect(status()).toBe("open");
  });

  it("rests while nobody can see the page, and goes on after the last event when somebody can", async () => {
    const [first, second] = [new FakeStream(), new FakeStream()];
    api.on(ROUTE, first.answer, second.answer);
    follow();
    await settle();
    first.event("status", {}, "7");
    await settle();
    show("hidden");
    await settle(REST_AFTER_MS - 1);
    expect(first.isCancelled).toBe(false);
    await settle(1);
    expect(first.isCancelled).toBe(true);
    // What wakes a stream that waits for a server does not wake this one.
    open.wake();
    await settle(600_000);
    expect(attempts()).toBe(1);
    show("visible");
    await settle();
    expect(resumedAt()).toEqual([null, "7"]);
    expect(states.map((state) => state.status)).toEqual(["connecting", "open", "connecting", "open"]);
    expect(states.every((state) => !("failures" in state) || state.failures === 0)).toBe(true);
  });

  it("goes on as it was where the page is hidden for a moment only", async () => {
    const stream = new FakeStream();
    api.on(ROUTE, stream.answer);
    follow();
    await settle();
    show("hidden");
    await settle(REST_AFTER_MS - 1);
    show("visible");
    await settle(30_000);
    expect(stream.isCancelled).toBe(false);
    expect(attempts()).toBe(1);
  });

  it("that is asked for in the background, or breaks there, is opened when the page is looked at", async () => {
    const stream = new FakeStream();
    api.on(ROUTE, noNetwork, stream.answer);
    show("hidden");
    follow();
    await settle(60_000);
    expect(attempts()).toBe(0);
    show("visible");
    await settle();
    show("hidden");
    await settle(60_000);
    expect(attempts()).toBe(1);
    show("visible");
    await settle();
    expect(attempts()).toBe(2);
    expect(status()).toBe("open");
  });

  it("that is closed while it rests is not opened again", async () => {
    const stream = new FakeStream();
    api.on(ROUTE, stream.answer);
    follow();
    await settle();
    show("hidden");
    await settle(REST_AFTER_MS);
    open.close();
    show("visible");
    await settle(60_000);
    expect(attempts()).toBe(1);
  });

  it("that ends has ended, and is not opened again", async () => {
    const stream = new FakeStream();
    api.on(ROUTE, stream.answer);
    follow();
    await settle();
    stream.event("end", {}, "9");
    await settle(120_000);
    expect(status()).toBe("ended");
    expect(attempts()).toBe(1);
  });

  it.each([
    [403, "ADMIN_REQUIRED"],
    [404, "JOB_NOT_FOUND"],
  ])("that is refused with %i is not asked for again", async (code, name) => {
    api.on(ROUTE, () => failure(code, name, "No"));
    follow();
    await settle(120_000);
    expect(status()).toBe("refused");
    expect(attempts()).toBe(1);
  });

  it("renews its token once where it is refused, and gives up where the new one is too", async () => {
    api.on(ROUTE, () => failure(401, "INVALID_TOKEN", "Invalid or expired token"));
    const getToken = follow();
    await settle(120_000);
    expect(getToken.mock.calls).toEqual([[{}], [{ skipCache: true }]]);
    expect(attempts()).toBe(2);
    expect(status()).toBe("refused");
  });

  it("that is closed says nothing more and asks for nothing more", async () => {
    const stream = new FakeStream();
    api.on(ROUTE, stream.answer);
    follow();
    await settle();
    const said = states.length;
    open.close();
    await settle(120_000);
    expect(stream.isCancelled).toBe(true);
    expect(states).toHaveLength(said);
    expect(attempts()).toBe(1);
  });
});
