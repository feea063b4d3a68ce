import { render, screen, waitFor } from "@testing-library/react";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { FakeApi, FakeStream, failure, json, noNetwork } from "../testing/api";
import { user } from "../testing/user";
import { frontendApi } from "./clerk";
import { Page } from "./Page";
import * as sandbox from "./sandbox";

const URL = "http://sign.test/sign-in";
const config = { clerkPublishableKey: null, prefectUiUrl: "http://prefect.test", signIn: "sandbox", signInUrl: URL };
const ada = { id: "ada", name: "Ada Admin", role: "admin" };
const token = (name: string, seconds = 60) => ({
  session: "sess_1",
  token: name,
  expiresAt: new Date(Date.now() + seconds * 1000).toISOString(),
  person: ada,
});

let api: FakeApi;

beforeEach(() => {
  sessionStorage.clear();
  api = new FakeApi()
    .on("GET /api/config", config)
    .on("GET /sign-in/people", [ada, { id: "peter", name: "Peter Plain", role: "user" }])
    .on("POST /sign-in/sessions", () => json(token("first"), {}, 201))
    .on("POST /sign-in/sessions/sess_1/token", () => json(token("next")))
    .on("DELETE /sign-in/sessions/sess_1", () => new Response(null, { status: 204 }))
    .on("GET /api/jobs/stream", () => new FakeStream().answer());
});

describe("the page", () => {
  it("lets somebody choose who to be in the sandbox, keeps the session over a reload, and ends it", async () => {
    const { unmount } = render(<Page />);
    await user.click(await screen.findByRole("button", { name: "Continue as Ada Admin" }));
    expect(await screen.findByText("Ada Admin")).toBeVisible();
    expect(screen.getByRole("navigation", { name: "Scheduler" })).toBeVisible();
    unmount();
    render(<Page />);
    await user.click(await screen.findByRole("button", { name: "Sign out" }));
    expect(await screen.findByRole("heading", { name: "Sign in" })).toBeVisible();
    expect(api.to("DELETE /sign-in/sessions/sess_1")).toHaveLength(1);
    expect(sessionStorage).toHaveLength(0);
  });

  it("says that sign-in is not set up where it is not", async () => {
    api.on("GET /api/config", { ...config, signIn: null, signInUrl: null });
    render(<Page />);
    expect(await screen.findByRole("heading", { name: "Sign-in is not set up" })).toBeVisible();
    expect(screen.getByText("CLERK_PUBLISHABLE_KEY")).toBeVisible();
  });

  it("says that the scheduler cannot be reached, and goes on when it can", async () => {
    api.on("GET /api/config", () => failure(503, "NOT_READY", "Not ready"), config);
    render(<Page />);
    expect(await screen.findByRole("heading", { name: "The scheduler cannot be reached" })).toBeVisible();
    await user.click(screen.getByRole("button", { name: "Try again" }));
    expect(await screen.findByRole("heading", { name: "Sign in" })).toBeVisible();
  });
});

describe("a session of the sandbox", () => {
  it("gives its token while it is fresh, renews it before it ends, and once for all who ask", async () => {
    const session = await sandbox.signIn(URL, "ada");
    expect(await session.getToken()).toBe("first");
    expect(await Promise.all([session.getToken({ skipCache: true }), session.getToken({ skipCache: true })])).toEqual([
      "next",
      "next",
    ]);
    expect(api.to("POST /sign-in/sessions/sess_1/token")).toHaveLength(1);
    const soon = Date.now() + 46_000;
    vi.spyOn(Date, "now").mockReturnValue(soon);
    await session.getToken();
    expect(api.to("POST /sign-in/sessions/sess_1/token")).toHaveLength(2);
  });

  it("that has ended gives no token, and one that cannot be asked about has not ended", async () => {
    const session = await sandbox.signIn(URL, "ada");
    api.on("POST /sign-in/sessions/sess_1/token", noNetwork, () => failure(401, "ENDED", "The session has ended"));
    await expect(session.getToken({ skipCache: true })).rejects.toThrow();
    expect(await session.getToken({ skipCache: true })).toBeNull();
    await waitFor(async () => expect(await sandbox.resume(URL)).toBeNull());
  });
});

describe("Clerk's publishable key", () => {
  it("names the host of its sign-in", () => {
    expect(frontendApi(`pk_live_${btoa("clerk.stumbleable.com$")}`)).toBe("clerk.stumbleable.com");
  });

  it.each(["", "sk_live_abc", `pk_live_${btoa("evil.com/x?$")}`, "pk_live_"])("that is none is refused: %s", (key) => {
    expect(() => frontendApi(key)).toThrow("CLERK_PUBLISHABLE_KEY");
  });
});
