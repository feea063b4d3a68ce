import { fireEvent, screen, waitFor, within } from "@testing-library/react";
import { beforeEach, describe, expect, it } from "vitest";
import { FakeApi, FakeStream, failure, json } from "../../testing/api";
import { aJob, aType, mount } from "../../testing/panel";
import { user } from "../../testing/user";
import JobPage from "../JobPage";

const ID = aJob().id;
const OTHER = "9f0e8dd4-0000-4000-8000-00000000000b";
const ROUTE = `GET /api/jobs/${ID}`;

let api: FakeApi;
let log: FakeStream;

beforeEach(() => {
  log = new FakeStream();
  api = new FakeApi()
    .on(`${ROUTE}/logs/stream`, log.answer)
    .on(`${ROUTE}/explain`, { jobId: ID, status: "running", sentence: `It follows job ${OTHER}.`, checks: [] })
    .on("GET /api/jobs", { jobs: [], total: 0 })
    .on("GET /api/job-types", { jobTypes: [aType({ jobType: "crawl_pending", title: "Crawl pending" })] });
});

const press = (name: string) => user.click(screen.getByRole("button", { name }));

describe("the page of a job", () => {
  it("that runs shows its progress and when it can be expected to end, as an interval", async () => {
    const estimate = {
      estimatedCompletionFrom: "2026-11-27T10:05:00Z",
      estimatedCompletionAt: "2026-11-27T10:06:00Z",
      estimatedCompletionTo: "2026-11-27T10:09:00Z",
    };
    api.on(ROUTE, aJob({ progress: { itemsProcessed: 3, itemsTotal: 4, phase: "crawling" }, ...estimate }));
    mount(<JobPage id={ID} />);
    expect(await screen.findByText("Running")).toBeVisible();
    expect(screen.getByRole("progressbar")).toHaveAttribute("aria-valuenow", "75");
    const expected = screen.getByText(/Expected to end/);
    const moments = [...expected.querySelectorAll("time")].map((time) => time.getAttribute("datetime"));
    expect(moments).toEqual(["2026-11-27T10:05:00Z", "2026-11-27T10:09:00Z", "2026-11-27T10:06:00Z"]);
    expect(await screen.findByRole("link", { name: OTHER.slice(0, 8) })).toHaveAttribute("href", `/jobs/${OTHER}`);
  });

  it("is told to stop after it has said what that does, and shows the receipt", async () => {
    const cancel = {
      requestedBy: "user_1",
      requestedAt: "2026-11-27T10:01:00Z",
      stoppedAt: null,
      itemsDone: null,
      safeToRetry: null,
    };
    api.on(ROUTE, aJob(), aJob({ cancel }));
    api.on(`POST /api/jobs/${ID}/cancel`, () => json(aJob({ cancel }), {}, 202));
    mount(<JobPage id={ID} />);
    await screen.findByText("Running");
    await press("Cancel");
    expect(screen.getByRole("dialog")).toHaveTextContent(/told to stop.*What it has done by then stays done/s);
    expect(api.to(`POST /api/jobs/${ID}/cancel`)).toHaveLength(0);
    await press("Cancel the job");
    expect(await screen.findByText("Cancelling")).toBeVisible();
    const receipt = screen.getByRole("region", { name: "Cancel" });
    expect(receipt).toHaveTextContent(/Asked for by.*user_1.*Stopped.*Not yet/s);
    expect(screen.queryByRole("button", { name: "Cancel" })).toBeNull();
  });

  it("that failed says why, which items failed, and leads to its retry", async () => {
    const result = {
      success: false,
      itemsProcessed: 3,
      errors: ["page 1 is gone", "page 2 is gone"],
      details: { errorsTruncated: 4 },
    };
    api.on(
      ROUTE,
      aJob({ status: "failed", error: "none of 3 items succeeded", result, completedAt: "2026-11-27T10:02:00Z" }),
    );
    api.on(`POST /api/jobs/${ID}/retry`, () => json({ jobId: OTHER }, {}, 202));
    const { visited } = mount(<JobPage id={ID} />);
    expect(await screen.findByText("none of 3 items succeeded")).toBeVisible();
    expect(screen.getByText("6 errors")).toBeVisible();
    expect(screen.getByText("page 2 is gone")).toBeInTheDocument();
    await press("Retry");
    await user.click(within(screen.getByRole("dialog")).getByRole("button", { name: "Retry" }));
    await waitFor(() => expect(visited.at(-1)).toBe(`/jobs/${OTHER}`));
    expect(api.to(`POST /api/jobs/${ID}/retry`)[0]?.headers.get("Idempotency-Key")).toMatch(/^[0-9a-f]{32}$/);
  });

  it("says that somebody was quicker where a retry is refused", async () => {
    api.on(ROUTE, aJob({ status: "failed", error: "no" }));
    api.on(`POST /api/jobs/${ID}/retry`, () => failure(409, "CONFLICT", `Job ${ID} was retried as ${OTHER}`));
    mount(<JobPage id={ID} />);
    await screen.findByText("Failed");
    await press("Retry");
    await user.click(within(screen.getByRole("dialog")).getByRole("button", { name: "Retry" }));
    const alert = await screen.findByRole("alert");
    expect(alert).toHaveTextContent(/not retried.*was retried as.*quicker.*request-1/s);
    expect(within(alert).getByRole("link", { name: OTHER.slice(0, 8) })).toHaveAttribute("href", `/jobs/${OTHER}`);
  });

  it("that waits leads to the job it waits for", async () => {
    api.on(ROUTE, aJob({ status: "pending", startedAt: null, pendingReason: `Waits for job ${OTHER}` }));
    mount(<JobPage id={ID} />);
    const waiting = await screen.findByRole("region", { name: "Waiting" });
    expect(within(waiting).getByRole("link", { name: OTHER.slice(0, 8) })).toHaveAttribute("href", `/jobs/${OTHER}`);
  });

  it("that nobody knows is a page, not an error", async () => {
    api.on(ROUTE, () => failure(404, "JOB_NOT_FOUND", "Job not found"));
    mount(<JobPage id={ID} />);
    expect(await screen.findByText("There is no such job")).toBeVisible();
  });
});

describe("its log", () => {
  const say = (number: number, level: string, message: string) =>
    log.event("log", { id: `${number}`, timestamp: "2026-11-27T10:00:00Z", level, message, task: null }, `${number}`);

  it("is filtered by level and text, and stands still while it is paused", async () => {
    api.on(ROUTE, aJob());
    mount(<JobPage id={ID} />);
    const lines = await screen.findByRole("log");
    say(1, "INFO", "100 pages wait");
    say(2, "WARNING", "A batch took long");
    say(3, "ERROR", "A page is gone");
    expect(await within(lines).findByText("A page is gone")).toBeVisible();

    await user.selectOptions(screen.getByRole("combobox", { name: "Level" }), "Warning and up");
    expect(within(lines).queryByText("100 pages wait")).toBeNull();
    await user.type(screen.getByRole("searchbox", { name: "Search the log" }), "batch");
    expect(lines).toHaveTextContent("A batch took long");
    expect(lines).not.toHaveTextContent("A page is gone");
    await user.clear(screen.getByRole("searchbox", { name: "Search the log" }));

    await press("Pause");
    say(4, "ERROR", "Another is gone");
    await press(await screen.findByRole("button", { name: "Go on (1 new line)" }).then(() => "Go on (1 new line)"));
    expect(await within(lines).findByText("Another is gone")).toBeVisible();
  });

  it("is followed until somebody scrolls up, by whatever means, and again from its end", async () => {
    api.on(ROUTE, aJob());
    mount(<JobPage id={ID} />);
    const lines = await screen.findByRole("log");
    const follow = screen.getByRole("checkbox", { name: "Follow" });
    Object.defineProperties(lines, { scrollHeight: { value: 1000 }, clientHeight: { value: 200 } });
    say(1, "INFO", "100 pages wait");
    expect(await within(lines).findByText("100 pages wait")).toBeVisible();
    const scroll = (top: number) => fireEvent.scroll(lines, { target: { scrollTop: top } });
    scroll(790); // within a line of the end
    expect(follow).toBeChecked();
    scroll(500);
    expect(follow).not.toBeChecked();
    say(2, "INFO", "99 pages wait");
    expect(await within(lines).findByText("99 pages wait")).toBeVisible();
    expect(lines.scrollTop).toBe(500);
    scroll(800);
    expect(follow).toBeChecked();
  });
});
