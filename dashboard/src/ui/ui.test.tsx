import { render, screen } from "@testing-library/react";
import { describe, expect, it } from "vitest";
import { STATUSES } from "../api/types";
import { cronWords } from "./cron";
import { figuresOf } from "./Figures";
import { fromLocalInput, toLocalInput } from "./local";
import { Progress } from "./Progress";
import { summary } from "./Sparkline";
import { StatusMark } from "./StatusMark";
import { admin, startedBy } from "./who";
import { distance, duration, percent, words } from "./words";

describe("a status", () => {
  it("is a word, and its drawing is for nobody who does not see it", () => {
    for (const status of STATUSES) {
      const { container, unmount } = render(<StatusMark status={status} />);
      const drawing = container.querySelector("svg");
      expect(drawing).toHaveAttribute("aria-hidden", "true");
      expect(container.textContent?.trim()).toMatch(/^(Waiting|Running|Completed|Failed|Cancelled)$/);
      unmount();
    }
  });

  it("has a drawing of its own, and only what runs turns", () => {
    const drawings = STATUSES.map((status) => {
      const { container, unmount } = render(<StatusMark status={status} />);
      const drawn = container.querySelector("svg")?.outerHTML ?? "";
      unmount();
      return drawn;
    });
    expect(new Set(drawings).size).toBe(STATUSES.length);
    expect(drawings.map((drawn) => drawn.includes("sp-spin"))).toEqual([false, true, false, false, false]);
  });

  it("of a job that was told to stop and runs is Cancelling, and of one that has stopped is not", () => {
    const { rerender } = render(<StatusMark status="running" cancelling />);
    expect(screen.getByText("Cancelling")).toBeVisible();
    rerender(<StatusMark status="completed" cancelling />);
    expect(screen.getByText("Completed")).toBeVisible();
  });
});

describe("progress", () => {
  it("is a share of its total, in numbers and words", () => {
    render(<Progress label="Progress" progress={{ itemsProcessed: 250, itemsTotal: 1000, phase: "crawl_pages" }} />);
    const bar = screen.getByRole("progressbar", { name: "Progress" });
    expect(bar).toHaveAttribute("aria-valuenow", "25");
    expect(bar).toHaveAttribute("aria-valuetext", "250 of 1,000");
    expect(screen.getByText(/Crawl pages/)).toBeVisible();
  });

  it.each([null, {}, { itemsProcessed: 7, itemsTotal: null }])("without a total says no share: %j", (progress) => {
    render(<Progress label="Progress" progress={progress} />);
    expect(screen.getByRole("progressbar")).not.toHaveAttribute("aria-valuenow");
  });
});

describe("words", () => {
  it.each([
    [0, "0 s"],
    [0.4, "under 1 s"],
    [7.26, "7.3 s"],
    [45, "45 s"],
    [59.7, "1 min"],
    [125, "2 min 5 s"],
    [3600, "1 h"],
    [11_400, "3 h 10 min"],
    [180_000, "2 d 2 h"],
    [null, "–"],
  ])("of %s seconds are %s", (seconds, said) => {
    expect(duration(seconds)).toBe(said);
  });

  it.each([
    [1, "100 %"],
    [0, "0 %"],
    [0.99996, "99.9 %"], // not all of them
    [0.00001, "0.1 %"], // not none
    [0.985, "98.5 %"],
    [0.9848, "98.5 %"],
    [0.0152, "1.5 %"],
    [null, "–"],
  ])("of the share %s are %s", (share, said) => {
    expect(percent(share)).toBe(said);
  });

  it("say how far away a moment is", () => {
    const now = Date.parse("2026-11-27T12:00:00Z");
    const said = (at: string) => distance(new Date(at), now);
    expect(said("2026-11-27T11:59:50Z")).toBe("just now");
    expect(said("2026-11-27T12:03:00Z")).toBe("in 3 minutes");
    expect(said("2026-11-27T09:00:00Z")).toBe("3 hours ago");
    expect(said("2026-11-20T12:00:00Z")).toBe("7 days ago");
  });

  it.each([
    ["*/15 * * * *", "Every 15 minutes"],
    ["0 9 * * MON", "At 09:00, only on Monday"],
    ["0 2 * * *", "At 02:00, every day"],
    ["@hourly", "Every hour"],
    ["not a cron", null],
  ])("of the cron %s are %s", (cron, said) => {
    expect(cronWords(cron)).toBe(said);
  });

  it("are made of names", () => {
    expect([words("older_than_days"), words("successfulCrawls"), words("HIGH")]).toEqual([
      "Older than days",
      "Successful crawls",
      "High",
    ]);
  });

  it("tell who started a job", () => {
    expect(startedBy({ startedBy: null, origin: "schedule" })).toBe("Schedule");
    expect(startedBy({ startedBy: "x", origin: "recovery" })).toBe("Recovery");
    expect(startedBy({ startedBy: null, origin: "prefect" })).toBe("Prefect");
    expect(admin("5f0e8dd4-0000-4000-8000-000000000001")).toBe("Admin 5f0e8dd4");
    expect(admin("user_2sandboxAdmin00000000001")).toBe("Admin user_2sa…0001");
  });

  it("sum a month up", () => {
    const day = (date: string, completed: number, failed: number) => ({ date, completed, failed, cancelled: 0 });
    expect(summary([day("2026-11-01", 10, 0), day("2026-11-02", 5, 2)])).toBe(
      "15 completed and 2 failed in 2 days, on 1 day, last on 2026-11-02",
    );
  });
});

describe("figures", () => {
  it("are a job's items and its details, with the path of what lies deeper", () => {
    const details = {
      toSend: 1200,
      expired: { job_events: 3 },
      samples: ["a", "b"],
      full: true,
      dryRun: true,
      none: null,
    };
    expect(figuresOf({ success: true, itemsProcessed: 5, errors: [], details })).toEqual([
      ["Items processed", "5"],
      ["To send", "1,200"],
      ["Expired: job events", "3"],
      ["Samples", "a, b"],
      ["Full", "yes"],
    ]);
    expect(figuresOf(null)).toEqual([]);
  });
});

describe("a moment in a control", () => {
  it("goes to UTC and back", () => {
    expect(toLocalInput(fromLocalInput("2026-11-27T14:05"))).toBe("2026-11-27T14:05");
    expect(toLocalInput("nonsense")).toBe("");
  });
});
