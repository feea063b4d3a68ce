import { readdirSync, readFileSync } from "node:fs";
import { render, screen, waitFor, within } from "@testing-library/react";
import { useState } from "react";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { SchedulerPanel } from "../index";
import { FakeApi, FakeStream, failure, json, noNetwork } from "../testing/api";
import { aJob, aType } from "../testing/panel";
import { user } from "../testing/user";

let api: FakeApi;
let stream: FakeStream;

const page = (jobs: unknown[]) => ({
  jobs,
  total: jobs.length,
  totalIsEstimate: false,
  page: 1,
  limit: 50,
  nextCursor: null,
});
const counts = { pending: 0, running: 1, completed: 90, failed: 10, cancelled: 0, skipped: 0 };
const numbers = { counts, successRate: 0.9, medianSeconds: 12, queueDepth: 0, running: 1, itemsProcessed: 1 };
const daily = [{ date: "2026-11-27", completed: 90, failed: 10, cancelled: 0 }];

beforeEach(() => {
  stream = new FakeStream();
  api = new FakeApi()
    .on("GET /api/jobs/stream", stream.answer)
    .on("GET /api/job-types", { jobTypes: [aType()] })
    .on("GET /api/maintenance", { paused: false, reason: null, until: null, setBy: null, setAt: null })
    .on("GET /api/jobs/stats", { overall: numbers, types: [{ ...numbers, jobType: "weekly_digest", daily }] })
    .on("GET /api/system", { status: "healthy", checks: [] })
    .on("GET /api/config", { version: "abc123" })
    .on("GET /api/jobs", page([aJob()]))
    .on("GET /api/audit", { entries: [], total: 0, totalIsEstimate: false, page: 1, limit: 50, nextCursor: null });
});

/** Another team's page, with a heading, a link and a session of its own. */
function Host({ getToken }: { getToken: () => Promise<string | null> }) {
  const [shown, setShown] = useState(true);
  return (
    <article>
      <h2>The portal</h2>
      <button type="button" onClick={() => setShown(!shown)}>
        Another tab
      </button>
      {shown && <SchedulerPanel baseUrl="https://scheduler.example.com" getToken={getToken} theme="dark" />}
    </article>
  );
}

describe("the panel in a host of its own", () => {
  it("asks the scheduler that it is told, with the host's tokens, and leaves address, title and page alone", async () => {
    const before = [window.location.href, document.title, document.documentElement.outerHTML.match(/<html[^>]*>/)?.[0]];
    const getToken = vi.fn(async () => "the host's");
    render(<Host getToken={getToken} />);
    expect(await screen.findByRole("heading", { name: "Overview" })).toBeVisible();
    expect((await screen.findAllByText("90 %"))[0]).toBeVisible();
    await user.click(screen.getByRole("link", { name: "Audit" }));
    expect(await screen.findByRole("heading", { name: "Audit" })).toBeVisible();
    expect(api.asked.every((asked) => asked.headers.get("Authorization") === "Bearer the host's")).toBe(true);
    const after = [window.location.href, document.title, document.documentElement.outerHTML.match(/<html[^>]*>/)?.[0]];
    expect(after).toEqual(before);
  });

  it("is no page of its own: its links lead to the scheduler's when they are opened elsewhere", async () => {
    render(<Host getToken={async () => "token"} />);
    await screen.findByRole("heading", { name: "Overview" });
    const leadsTo = (name: string) => screen.getByRole("link", { name }).getAttribute("href");
    expect(leadsTo("Overview")).toBe("https://scheduler.example.com/admin");
    expect(leadsTo("Audit")).toBe("https://scheduler.example.com/admin/audit");
    const before = window.location.href;
    await user.click(screen.getByRole("link", { name: "Skip to the content" }));
    expect(screen.getByRole("region", { name: "Scheduler" })).toHaveFocus();
    expect(window.location.href).toBe(before);
    expect(screen.queryByRole("main")).toBeNull();
  });

  it("follows the host's colours and offers none of its own", async () => {
    const { container } = render(<Host getToken={async () => "token"} />);
    expect(container.querySelector(".sp-panel")).toHaveAttribute("data-theme", "dark");
    expect(screen.queryByRole("button", { name: "Dark colours" })).toBeNull();
    await screen.findByRole("heading", { name: "Overview" });
  });

  it("ends its stream when it is taken away", async () => {
    render(<Host getToken={async () => "token"} />);
    await screen.findByText("Live");
    await user.click(screen.getByRole("button", { name: "Another tab" }));
    await waitFor(() => expect(stream.isCancelled).toBe(true));
  });
});

describe("the panel", () => {
  const mounted = (getToken = async (): Promise<string | null> => "token", onSignIn?: () => void) =>
    render(<SchedulerPanel baseUrl="" getToken={getToken} {...(onSignIn && { onSignIn })} />);

  it("turns its colours around by its own switch, and remembers", async () => {
    localStorage.clear();
    const { container, unmount } = mounted();
    await user.click(screen.getByRole("button", { name: "Dark colours" }));
    expect(container.querySelector(".sp-panel")).toHaveAttribute("data-theme", "dark");
    unmount();
    const again = mounted();
    expect(again.container.querySelector(".sp-panel")).toHaveAttribute("data-theme", "dark");
    localStorage.clear();
    await screen.findByRole("heading", { name: "Overview" });
  });

  it("is a page for whoever is signed out, and offers what the host has for that", async () => {
    const onSignIn = vi.fn();
    mounted(async () => null, onSignIn);
    expect(await screen.findByRole("heading", { name: "You are signed out" })).toBeVisible();
    expect(document.title).not.toContain("signed out");
    await user.click(screen.getByRole("button", { name: "Sign in" }));
    expect(onSignIn).toHaveBeenCalled();
  });

  it("is a page for whoever is no admin, and is whole again once they are", async () => {
    const refuse = () => failure(403, "ADMIN_REQUIRED", "Admin access required");
    api.on("GET /api/maintenance", refuse);
    api.on("GET /api/job-types", refuse);
    api.on("GET /api/jobs/stream", refuse);
    mounted();
    expect(await screen.findByRole("heading", { name: "This page is for admins" })).toBeVisible();
    api.on("GET /api/maintenance", { paused: false });
    api.on("GET /api/job-types", { jobTypes: [] });
    api.on("GET /api/jobs/stream", stream.answer);
    await user.click(screen.getByRole("button", { name: "Try again" }));
    expect(await screen.findByRole("heading", { name: "Overview" })).toBeVisible();
    expect(await screen.findByText("Live")).toBeVisible();
  });

  it("is a page when the session has ended, whatever was open", async () => {
    const tokens: (string | null)[] = ["token", "token", "token"];
    mounted(async () => tokens.shift() ?? null);
    const heading = await screen.findByRole("heading", { name: "Your session has ended" });
    expect(heading).toHaveFocus();
  });

  it("names what it shows instead of a page in the title, where the title is its own", async () => {
    const before = document.title;
    const { unmount } = render(<SchedulerPanel baseUrl="" getToken={async () => null} basePath="/admin" />);
    await screen.findByRole("heading", { name: "You are signed out" });
    expect(document.title).toBe("You are signed out · Scheduler");
    expect(screen.getByRole("main")).toBeVisible();
    expect(screen.getByRole("link", { name: "Audit" })).toHaveAttribute("href", "/admin/audit");
    unmount();
    document.title = before;
  });

  it("says that it is offline and since when, and keeps what it knew", async () => {
    mounted();
    expect((await screen.findAllByText("90 %"))[0]).toBeVisible();
    for (const route of ["GET /api/jobs/stream", "GET /api/system", "GET /api/maintenance", "GET /api/jobs"]) {
      api.on(route, noNetwork);
    }
    stream.breakOff();
    expect(await screen.findByRole("alert")).toHaveTextContent(
      /The scheduler cannot be reached\. What is shown is as it was on/,
    );
    expect(screen.getAllByText("90 %")[0]).toBeVisible();
  });

  it("says on every page who paused everything, why and until when", async () => {
    const said = {
      paused: true,
      reason: "the database moves",
      until: "2026-12-01T06:00:00Z",
      setBy: "user_1",
      setAt: null,
    };
    api.on("GET /api/maintenance", said);
    api.on("PUT /api/maintenance", { ...said, paused: false });
    mounted();
    const banner = await screen.findByRole("status", { name: "Paused" });
    expect(banner).toHaveTextContent(/the database moves/);
    expect(banner).toHaveTextContent(/Admin user_1/);
    expect(within(banner).getByText(/1 Dec/, { selector: "time" })).toBeVisible();
    await user.click(within(banner).getByRole("button", { name: "Resume" }));
    api.on("GET /api/maintenance", { ...said, paused: false });
    await user.click(within(screen.getByRole("dialog")).getByRole("button", { name: "Resume" }));
    await waitFor(() => expect(screen.queryByRole("status", { name: "Paused" })).toBeNull());
    expect(api.to("PUT /api/maintenance")[0]?.body).toEqual({ paused: false });
  });

  it("stays where one page cannot be shown, and goes on to the others", async () => {
    vi.spyOn(console, "error").mockImplementation(() => {});
    api.on("GET /api/audit", page([]));
    mounted();
    await screen.findByRole("heading", { name: "Overview" });
    // An answer of another form than the API's own.
    await user.click(screen.getByRole("link", { name: "Audit" }));
    expect(await screen.findByRole("alert")).toHaveTextContent("This page cannot be shown");
    expect(screen.getByRole("button", { name: "Reload" })).toBeVisible();
    await user.click(screen.getByRole("link", { name: "Overview" }));
    expect(await screen.findByRole("heading", { name: "Overview" })).toBeVisible();
  });

  it("shows a change when its stream tells of one", async () => {
    mounted();
    stream.event("ready", {}, "1");
    const open = await screen.findByRole("list", { name: "Running and waiting jobs" });
    expect(within(open).getByText("Running")).toBeVisible();
    api.on("GET /api/jobs", () => json(page([aJob({ status: "failed", error: "the crawler is away" })])));
    stream.event("status", { jobId: "a", status: "failed" }, "2");
    expect(await within(open).findByText("Failed")).toBeVisible();
  });
});

describe("the panel's styles", () => {
  it("name nothing outside of it", () => {
    const folder = "src/styles";
    for (const name of readdirSync(folder)) {
      const text = readFileSync(`${folder}/${name}`, "utf8").replace(/\/\*.*?\*\//gs, "");
      const selectors = text
        .split(/[{}]/)
        .map((part) => part.split(";").at(-1)?.trim() ?? "")
        .filter((part) => part !== "" && !part.startsWith("@") && part !== "to" && !part.includes(": "));
      for (const selector of selectors.flatMap((part) => part.split(/,(?![^(]*\))/))) {
        expect(selector.trim(), name).toMatch(/^\.sp-/);
      }
    }
  });
});
