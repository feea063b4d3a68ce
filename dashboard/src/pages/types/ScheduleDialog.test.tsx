import { screen, waitFor } from "@testing-library/react";
import { useState } from "react";
import { beforeEach, describe, expect, it, vi } from "vitest";
import type { JobTypeView } from "../../api/types";
import { FakeApi, failure, json } from "../../testing/api";
import { aType, mount } from "../../testing/panel";
import { user } from "../../testing/user";
import { EnabledSwitch } from "./EnabledSwitch";
import { ScheduleDialog } from "./ScheduleDialog";

const PREVIEW = "POST /api/schedules/preview";
const EDIT = "PATCH /api/job-types/weekly_digest/schedule";
const RESET = "DELETE /api/job-types/weekly_digest/schedule";

let api: FakeApi;
const onClose = vi.fn();

beforeEach(() => {
  onClose.mockReset();
  api = new FakeApi().on(PREVIEW, ({ body }) => {
    const { cron } = body as { cron: string };
    if (cron.startsWith("0 0 30 2")) {
      const message = "never fires: its months have no such day";
      return failure(400, "INVALID_REQUEST", `cron: ${message}`, { details: [{ field: "cron", message }] });
    }
    const hours = [1, 2, 3, 4, 5];
    return json({
      ...(body as object),
      nextRuns: hours.map((hour) => `2026-11-30T0${hour}:00:00Z`),
      nextRunsLocal: hours.map((hour) => `Mon 2026-11-30 0${hour + 1}:00 CET`),
    });
  });
  api.on(EDIT, { applied: true }).on(RESET, { applied: true }).on("GET /api/job-types", { jobTypes: [] });
});

// Hundreds of options make every look for a role slow.
vi.mock("./zones", () => ({ TIME_ZONES: ["UTC", "Europe/Berlin"] }));

/** The dialog in a list that moves on beneath it. */
function Moving({ types }: { types: JobTypeView[] }) {
  const [at, setAt] = useState(0);
  return (
    <>
      <button type="button" onClick={() => setAt(at + 1)}>
        The list moves on
      </button>
      <ScheduleDialog type={types[at] as JobTypeView} onClose={onClose} />
    </>
  );
}

const cron = () => screen.getByRole("textbox", { name: "Cron" });
const save = () => screen.getByRole("button", { name: "Save" });
/** Saves as soon as what was typed has been found valid. */
async function keep() {
  await waitFor(() => expect(save()).toBeEnabled());
  await user.click(save());
}
async function retype(text: string) {
  await user.clear(cron());
  await user.type(cron(), text.replaceAll("[", "[["));
}

describe("the editor of a schedule", () => {
  it("shows the next five runs of what is typed, in the schedule's own zone, and its words", async () => {
    mount(<ScheduleDialog type={aType()} onClose={onClose} />);
    await retype("0 * * * *");
    expect(await screen.findByText("Every hour")).toBeVisible();
    await waitFor(() => expect(screen.getByRole("list", { name: "Next runs" }).children).toHaveLength(5));
    expect(screen.getByText("Mon 2026-11-30 02:00 CET")).toBeVisible();
  });

  it("asks the API once somebody has stopped typing, and nothing about half an expression", async () => {
    mount(<ScheduleDialog type={aType()} onClose={onClose} />);
    await retype("*/5 * * *");
    expect(await screen.findByText(/^It has 4 fields, it must have 5/)).toBeVisible();
    await user.type(cron(), " *");
    await waitFor(() => expect(api.to(PREVIEW).at(-1)?.body).toEqual({ cron: "*/5 * * * *", timezone: "UTC" }));
    expect(api.to(PREVIEW).length).toBeLessThanOrEqual(2);
  });

  it("says at once why an expression or a zone is not valid, asks nothing, and does not save it", async () => {
    mount(<ScheduleDialog type={aType()} onClose={onClose} />);
    await waitFor(() => expect(api.to(PREVIEW)).toHaveLength(1));
    await retype("99 * * * *");
    expect(screen.getByText("It has no valid minute (0-59): it is field 1.")).toBeVisible();
    expect(cron()).toBeInvalid();
    expect(save()).toBeDisabled();
    expect(screen.getByText("It would never run.")).toBeVisible();
    await retype("9 * * * *");
    const zone = screen.getByRole("combobox", { name: "Time zone" });
    await user.clear(zone);
    await user.type(zone, "Europe/Berl");
    expect(zone).toHaveAccessibleDescription(/It is no time zone/);
    await new Promise((resolve) => setTimeout(resolve, 400));
    expect(api.to(PREVIEW)).toHaveLength(1);
    await user.type(zone, "in");
    await waitFor(() => expect(api.to(PREVIEW)[1]?.body).toEqual({ cron: "9 * * * *", timezone: "Europe/Berlin" }));
  });

  it("does not save what the API has not looked at yet, and says what it refuses", async () => {
    mount(<ScheduleDialog type={aType()} onClose={onClose} />);
    await retype("0 0 30 2 *{Enter}");
    expect(save()).toBeDisabled();
    expect(await screen.findByText("It never fires: its months have no such day.")).toBeVisible();
    expect(save()).toBeDisabled();
    expect(api.to(EDIT)).toEqual([]);
  });

  it("saves what was changed, on the version that it was shown", async () => {
    mount(<ScheduleDialog type={aType()} onClose={onClose} />);
    expect(save()).toBeDisabled();
    const zone = screen.getByRole("combobox", { name: "Time zone" });
    await user.clear(zone);
    await user.type(zone, "Europe/Berlin");
    await keep();
    await waitFor(() => expect(onClose).toHaveBeenCalled());
    const [sent] = api.to(EDIT);
    expect(sent?.body).toEqual({ timezone: "Europe/Berlin" });
    expect(sent?.headers.get("If-Match")).toBe('"3"');
  });

  it("says that somebody else was quicker, shows theirs, and saves mine only when I say so", async () => {
    api.on(EDIT, () => failure(412, "SCHEDULE_CHANGED", "The schedule has been edited since"), { applied: true });
    const theirs: Partial<JobTypeView> = { cron: "30 7 * * *", etag: '"4"', version: 4 };
    mount(<Moving types={[aType(), aType(theirs)]} />);
    await retype("0 10 * * MON");
    await keep();
    expect(await screen.findByRole("alert")).toHaveTextContent(/Somebody else edited this schedule/);
    await user.click(screen.getByRole("button", { name: "The list moves on", hidden: true }));
    expect(screen.getByRole("alert")).toHaveTextContent("30 7 * * *");
    expect(save()).toBeDisabled();
    await user.click(screen.getByRole("button", { name: "Go on with mine" }));
    await keep();
    await waitFor(() => expect(onClose).toHaveBeenCalled());
    expect(api.to(EDIT).map((asked) => asked.headers.get("If-Match"))).toEqual(['"3"', '"4"']);
  });

  it("says that an edit waits while Prefect is away", async () => {
    api.on(EDIT, { applied: false });
    mount(<ScheduleDialog type={aType()} onClose={onClose} />);
    await retype("0 10 * * MON");
    await keep();
    expect(await screen.findByText(/Prefect does not answer at the moment/)).toBeVisible();
    expect(onClose).not.toHaveBeenCalled();
  });

  it("goes back to the file's where there is an edit", async () => {
    const edited = aType({ overridden: true, cron: "0 10 * * *", overriddenFields: ["cron"] });
    mount(<ScheduleDialog type={edited} onClose={onClose} />);
    expect(screen.getByText(/The file says/)).toHaveTextContent("0 9 * * MON");
    await user.click(screen.getByRole("button", { name: "Back to the file's" }));
    await waitFor(() => expect(onClose).toHaveBeenCalled());
    expect(api.to(RESET)).toHaveLength(1);
  });
});

describe("the switch of a schedule", () => {
  it("asks for the other state, and shows the old one until the API says otherwise", async () => {
    mount(<EnabledSwitch type={aType()} />);
    const toggle = screen.getByRole("switch", { name: "Enabled: Weekly digest" });
    await user.click(toggle);
    await waitFor(() => expect(api.to(EDIT)[0]?.body).toEqual({ enabled: false }));
    expect(toggle).toBeChecked();
  });

  it("says that the change waits while Prefect is away, until the next one", async () => {
    api.on(EDIT, { applied: false }, { applied: true });
    mount(<EnabledSwitch type={aType()} />);
    const toggle = screen.getByRole("switch");
    await user.click(toggle);
    expect(await screen.findByRole("status")).toHaveTextContent(/kept.*Prefect.*follows/);
    await user.click(toggle);
    await waitFor(() => expect(screen.queryByRole("status")).toBeNull());
  });
});
