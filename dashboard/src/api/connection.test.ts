import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { connected, FakeApi, FakeStream, failure, json, noAnswer, noNetwork } from "../testing/api";
import { answered, makeApi } from "./client";
import { PATIENCE_MS } from "./connection";
import { ApiError, SignedOut, Unreachable } from "./errors";

const ROUTE = "GET /api/system";
let api: FakeApi;

beforeEach(() => {
  api = new FakeApi();
});

describe("a request", () => {
  it("that is refused with 401 is sent once more with a token that is not from a cache", async () => {
    const getToken = vi.fn(async (options?: { skipCache?: boolean }) => (options?.skipCache ? "fresh" : "old"));
    api.on(ROUTE, () => failure(401, "INVALID_TOKEN", "Invalid or expired token"), { status: "healthy" });
    const connection = connected(getToken as never);
    const response = await connection.get("/api/system");
    expect(await response.json()).toEqual({ status: "healthy" });
    expect(api.asked.map((asked) => asked.headers.get("Authorization"))).toEqual(["Bearer old", "Bearer fresh"]);
    expect(connection.access.get()).toBe("ok");
  });

  it("that is refused twice ends the session, and the next one that is answered begins it again", async () => {
    const refused = () => failure(401, "INVALID_TOKEN", "Invalid or expired token");
    api.on(ROUTE, refused, refused, { status: "healthy" });
    const connection = connected();
    await expect(connection.get("/api/system")).rejects.toMatchObject({ status: 401, requestId: "request-1" });
    expect(connection.access.get()).toBe("expired");
    await connection.get("/api/system");
    expect(connection.access.get()).toBe("ok");
  });

  it("that was sent before the session ended and is answered after it does not begin it again", async () => {
    let answer: (response: Response) => void = () => {};
    api.on("GET /api/audit", () => new Promise((resolve) => (answer = resolve)));
    api.on(ROUTE, () => failure(401, "INVALID_TOKEN", "No"));
    const connection = connected();
    const slow = connection.get("/api/audit");
    await expect(connection.get("/api/system")).rejects.toThrow(ApiError);
    answer(json({}));
    await slow;
    expect(connection.access.get()).toBe("expired");
  });

  it("keeps its body where it is sent again", async () => {
    api.on("PUT /api/maintenance", () => failure(401, "INVALID_TOKEN", "No"), { paused: true });
    const client = makeApi(connected());
    await answered(client.PUT("/api/maintenance", { body: { paused: true, reason: "moving" } }));
    expect(api.asked.map((asked) => asked.body)).toEqual(Array(2).fill({ paused: true, reason: "moving" }));
  });

  it("of somebody who is no admin says so, and a key that may not do something does not", async () => {
    api.on(
      ROUTE,
      () => failure(403, "MACHINE_KEY_REFUSED", "No"),
      () => failure(403, "ADMIN_REQUIRED", "No"),
    );
    const connection = connected();
    await expect(connection.get("/api/system")).rejects.toThrow(ApiError);
    expect(connection.access.get()).toBe("ok");
    await expect(connection.get("/api/system")).rejects.toThrow(ApiError);
    expect(connection.access.get()).toBe("not-admin");
  });

  it.each([
    [[null], "signed-out"], // never signed in
    [["token", null], "expired"], // signed in, and then no more
  ])("without a token is not sent (tokens %j: %s)", async (tokens, access) => {
    const given = [...tokens];
    const connection = connected(vi.fn(async () => given.shift() ?? null));
    api.on(ROUTE, {});
    for (const token of tokens) {
      const sent = connection.get("/api/system");
      if (token === null) await expect(sent).rejects.toThrow(SignedOut);
      else await sent;
    }
    expect(connection.access.get()).toBe(access);
    expect(api.asked).toHaveLength(tokens.length - 1);
  });

  it("without a network, or without whoever gives tokens, is no end of a session", async () => {
    api.on(ROUTE, noNetwork, {});
    const connection = connected();
    await expect(connection.get("/api/system")).rejects.toThrow(Unreachable);
    expect([connection.reachable.get(), connection.heardAt]).toEqual([false, null]);
    expect(connection.access.get()).toBe("ok");
    await connection.get("/api/system");
    expect(connection.reachable.get()).toBe(true);
    expect(connection.heardAt).not.toBeNull();
    const other = connected(vi.fn().mockRejectedValue(new TypeError("Failed to fetch")));
    await expect(other.get("/api/system")).rejects.toThrow(Unreachable);
    expect(other.access.get()).toBe("ok");
  });

  it("goes to the origin that the host names, or to the page's own", async () => {
    const { Connection } = await import("./connection");
    expect(new Connection("https://scheduler.example.com/", async () => null).baseUrl).toBe(
      "https://scheduler.example.com",
    );
    expect(new Connection("", async () => null).baseUrl).toBe(window.location.origin);
  });
});

describe("a scheduler that takes its time", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it("is away when it has said nothing for long, and there again when it speaks", async () => {
    api.on(ROUTE, noAnswer, {});
    const connection = connected();
    const sent = expect(connection.get("/api/system")).rejects.toThrow(Unreachable);
    await vi.advanceTimersByTimeAsync(PATIENCE_MS - 1);
    expect(connection.reachable.get()).toBe(true);
    await vi.advanceTimersByTimeAsync(1);
    await sent;
    expect(connection.reachable.get()).toBe(false);
    await connection.get("/api/system");
    expect(connection.reachable.get()).toBe(true);
  });

  it("is not away because a question was withdrawn", async () => {
    api.on(ROUTE, noAnswer);
    const connection = connected();
    const asking = new AbortController();
    const sent = expect(connection.get("/api/system", { signal: asking.signal })).rejects.toBe("another page");
    await vi.advanceTimersByTimeAsync(1_000);
    asking.abort("another page");
    await sent;
    await vi.advanceTimersByTimeAsync(PATIENCE_MS);
    expect(connection.reachable.get()).toBe(true);
  });

  it("may go on with an answer that has begun for as long as it likes", async () => {
    const stream = new FakeStream();
    api.on(ROUTE, stream.answer);
    const reader = (await connected().get("/api/system")).body?.getReader();
    await reader?.read();
    await vi.advanceTimersByTimeAsync(PATIENCE_MS * 2);
    stream.say(": still there");
    expect((await reader?.read())?.done).toBe(false);
  });
});

describe("what was read before", () => {
  it("is asked for by its tag, and costs no second body where it is the same", async () => {
    api.on(
      "GET /api/maintenance",
      () => json({ paused: false }, { ETag: 'W/"a"' }),
      ({ headers }) =>
        headers.get("If-None-Match") === 'W/"a"' ? new Response(null, { status: 304 }) : json({ paused: true }),
    );
    const client = makeApi(connected());
    const first = await answered(client.GET("/api/maintenance"));
    expect(await answered(client.GET("/api/maintenance"))).toEqual(first);
    expect(api.asked.map((asked) => asked.headers.get("If-None-Match"))).toEqual([null, 'W/"a"']);
  });

  it("is kept for each address by itself, and errors are not", async () => {
    api.on(
      "GET /api/jobs",
      () => json({ jobs: [] }, { ETag: 'W/"1"' }),
      () => failure(503, "SERVICE_UNAVAILABLE", "Away", {}, { "Retry-After": "5" }),
      () => json({ jobs: [] }, { ETag: 'W/"2"' }),
    );
    const client = makeApi(connected());
    const list = (status: ("failed" | "running")[]) =>
      answered(client.GET("/api/jobs", { params: { query: { status } } }));
    await list(["failed"]);
    await expect(list(["running"])).rejects.toMatchObject({ status: 503, retryAfter: 5 });
    await list(["running"]);
    expect(api.asked.map((asked) => asked.headers.get("If-None-Match"))).toEqual([null, null, null]);
  });

  it("is asked for with filters that repeat", async () => {
    api.on("GET /api/jobs", { jobs: [] });
    await answered(makeApi(connected()).GET("/api/jobs", { params: { query: { status: ["failed", "running"] } } }));
    expect(api.asked[0]?.path).toBe("/api/jobs?status=failed&status=running");
  });
});

describe("an error", () => {
  it("tells what is wrong with each field, once", () => {
    const details = [
      { field: "cron", message: "one" },
      { field: "cron", message: "two" },
      { field: 7, message: "no field" },
      null,
    ];
    const error = new ApiError(400, { error: "No", details }, new Headers());
    expect([...error.fields]).toEqual([["cron", "one"]]);
  });

  it("of a proxy, which is no JSON of ours, still has its status", async () => {
    const error = await ApiError.of(new Response("<h1>Bad gateway</h1>", { status: 502 }));
    expect(error).toMatchObject({ status: 502, code: "HTTP_502", message: "The scheduler answered 502" });
  });
});
