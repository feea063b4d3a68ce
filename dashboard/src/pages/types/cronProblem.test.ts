import { describe, expect, it } from "vitest";
import { cronProblem, zoneProblem } from "./cronProblem";

describe("what is plainly wrong with a cron expression", () => {
  it.each([
    ["", "has 0 fields"],
    ["* * * *", "has 4 fields"],
    ["0 * * * * *", "has 6 fields"],
    ["@", "is no cron expression"],
    ["@reboot", "is no cron expression"],
    ["60 * * * *", "has no valid minute (0-59): it is field 1"],
    ["1, * * * *", "has no valid minute"],
    ["1- * * * *", "has no valid minute"],
    ["*/ * * * *", "has no valid minute"],
    ["*/0 * * * *", "has no valid minute"],
    ["* 22-24 * * *", "has no valid hour (0-23): it is field 2"],
    ["* * 0 * *", "has no valid day of month (1-31): it is field 3"],
    ["* * 1,32 * *", "has no valid day of month"],
    ["* * * 13 *", "has no valid month (1-12): it is field 4"],
    ["* * * janu *", "has no valid month"],
    ["* * * * 8", "has no valid day of week (0-7): it is field 5"],
    ["* * * * MO", "has no valid day of week"],
  ])("%j", (cron, said) => {
    expect(cronProblem(cron)).toContain(said);
  });

  // Each of them is valid, but for what only the API can tell.
  it.each([
    "*/15 * * * *",
    "0-59/70 * * * *",
    "5,10-20/5,50-10 3 * * *",
    "* * L * ?",
    "* * * 11-0 *",
    "* * * JAN-mar/2 MON-FRI,7",
    "* * * * mon#1",
    "* * * * L5",
    "0 0 30 2 *",
    "@Daily",
    "@midnight",
  ])("is nothing: %j", (cron) => {
    expect(cronProblem(cron)).toBeNull();
  });
});

describe("what is plainly wrong with a time zone", () => {
  it.each(["", "Europe/Berl", "Mars/Olympus", "+01:00", "europe/berlin"])("%j", (zone) => {
    expect(zoneProblem(zone)).toMatch(/^is no time zone/);
  });

  it.each(["UTC", "Europe/Berlin", "Asia/Calcutta", "Asia/Kolkata", "US/Eastern"])("is nothing: %j", (zone) => {
    expect(zoneProblem(zone)).toBeNull();
  });
});
