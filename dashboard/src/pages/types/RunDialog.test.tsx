import { screen, waitFor } from "@testing-library/react";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { FakeApi, failure, json, noNetwork } from "../../testing/api";
import { aJob, aType, mount } from "../../testing/panel";
import { user } from "../../testing/user";
import { RunDialog } from "./RunDialog";

const TRIGGER = "POST /api/jobs/trigger";
const JOB = "job-1";
const CANCEL = `POST /api/jobs/${JOB}/cancel`;

let api: FakeApi;

beforeEach(() => {
  api = new FakeApi()
    .on(TRIGGER, () => json({ jobId: JOB, id: JOB, status: "pending" }, {}, 202))
    .on(`GET /api/jobs/${JOB}`, aJob({ id: JOB }));
});

const press = (name: string) => user.click(screen.getByRole("button", { name }));
const bodies = () => api.to(TRIGGER).map((asked) => asked.body);

describe("the dialog that runs a job", () => {
  it("begins at the defaults, and sends what was changed and the priority", async () => {
    const { visited } = mount(<RunDialog type={aType()} onClose={vi.fn()} />);
    const shards = screen.getByRole("textbox", { name: "Shards" });
    expect(shards).toHaveValue("1");
    expect(shards).toHaveAccessibleDescription("How many share it. From 1 to 16.");
    await user.clear(shards);
    await user.type(shards, "4");
    await user.selectOptions(screen.getByRole("combobox", { name: "Priority" }), "High");
    await press("Run now");
    expect(bodies()).toEqual([{ jobType: "weekly_digest", parameters: { shards: 4 }, priority: "HIGH" }]);
    await waitFor(() => expect(visited.at(-1)).toBe(`/jobs/${JOB}`));
  });

  it("says what is wrong with a value beside it, and sends nothing", async () => {
    mount(<RunDialog type={aType()} onClose={vi.fn()} />);
    const shards = screen.getByRole("textbox", { name: "Shards" });
    await user.clear(shards);
    await user.type(shards, "17");
    expect(shards).toBeValid();
    await press("Run now");
    expect(shards).toBeInvalid();
    expect(shards).toHaveAccessibleDescription(/From 1 to 16$/);
    expect(bodies()).toEqual([]);
  });

  it("shows the API's refusal of a field beside the field, with the id of the request", async () => {
    const details = [{ field: "parameters.shards", message: "17 is greater than the maximum" }];
    api.on(TRIGGER, () => failure(400, "INVALID_REQUEST", "parameters.shards: no", { details }));
    mount(<RunDialog type={aType()} onClose={vi.fn()} />);
    await press("Run now");
    expect(await screen.findByRole("alert")).toHaveTextContent(/not started.*parameters\.shards: no.*request-1/);
    expect(screen.getByRole("textbox", { name: "Shards" })).toHaveAccessibleDescription(
      /17 is greater than the maximum$/,
    );
  });

  it("asks about what mails only after a dry run has told its numbers", async () => {
    const details = { toSend: 1234, optedOut: 7, dryRun: true };
    const completed = aJob({
      id: JOB,
      status: "completed",
      result: { success: true, itemsProcessed: 1241, errors: [], details },
    });
    api.on(`GET /api/jobs/${JOB}`, completed);
    mount(<RunDialog type={aType({ lasting: "mails" })} onClose={vi.fn()} />);
    await press("Continue");
    expect(screen.getByText(/This sends mail to people/)).toBeVisible();
    expect(await screen.findByText("1,234")).toBeVisible();
    expect(screen.getByText("To send")).toBeVisible();
    expect(bodies()).toEqual([{ jobType: "weekly_digest", parameters: { dry_run: true }, priority: "HIGH" }]);
    await press("Run now");
    expect(bodies()[1]).toEqual({ jobType: "weekly_digest", parameters: {}, priority: "MEDIUM" });
  });

  it("runs what deletes without the numbers only where somebody says so", async () => {
    const { unmount } = mount(<RunDialog type={aType({ lasting: "deletes" })} onClose={vi.fn()} />);
    await press("Continue");
    expect(await screen.findByText("Running")).toBeVisible();
    expect(screen.getByRole("button", { name: "Run now" })).toBeDisabled();
    await user.click(screen.getByRole("checkbox", { name: "Run without waiting for the numbers" }));
    await press("Run now");
    expect(bodies()[1]).toEqual({ jobType: "weekly_digest", parameters: {}, priority: "MEDIUM" });
    unmount();

    const failed = aJob({ id: JOB, status: "failed", error: "No database" });
    api.on(`GET /api/jobs/${JOB}`, failed);
    mount(<RunDialog type={aType({ lasting: "deletes" })} onClose={vi.fn()} />);
    await press("Continue");
    expect(await screen.findByText("No database")).toBeVisible();
    expect(screen.getByRole("button", { name: "Run now" })).toBeDisabled();
  });

  it("cancels a dry run that is left open, and none that has ended", async () => {
    api.on(CANCEL, () => json(aJob({ id: JOB }), {}, 202));
    const mails = aType({ lasting: "mails" });
    mount(<RunDialog type={mails} onClose={vi.fn()} />);
    await press("Continue");
    expect(await screen.findByText("Running")).toBeVisible();
    await press("Back");
    await waitFor(() => expect(api.to(CANCEL)).toHaveLength(1));

    api.on(`GET /api/jobs/${JOB}`, aJob({ id: JOB, status: "completed" }));
    await press("Continue");
    await waitFor(() => expect(screen.getByRole("button", { name: "Run now" })).toBeEnabled());
    await press("Back");
    expect(api.to(CANCEL)).toHaveLength(1);
  });

  it("cancels a dry run whose job is made when nobody waits any more", async () => {
    let answer: (made: Response) => void = () => {};
    api.on(TRIGGER, () => new Promise<Response>((resolve) => (answer = resolve)));
    api.on(CANCEL, () => json(aJob({ id: JOB }), {}, 202));
    const { unmount } = mount(<RunDialog type={aType({ lasting: "mails" })} onClose={vi.fn()} />);
    await press("Continue");
    await waitFor(() => expect(bodies()).toHaveLength(1));
    unmount();
    answer(json({ jobId: JOB }, {}, 202));
    await waitFor(() => expect(api.to(CANCEL)).toHaveLength(1));
  });

  it("asks about what mails and has no dry run, and asks nothing before a dry run that is wanted", async () => {
    const bare = aType({ lasting: "mails", parameterSchema: { properties: {} } });
    const { unmount } = mount(<RunDialog type={bare} onClose={vi.fn()} />);
    await press("Continue");
    expect(screen.getByText(/It has no dry run/)).toBeVisible();
    expect(bodies()).toEqual([]);
    unmount();

    mount(<RunDialog type={aType({ lasting: "mails" })} onClose={vi.fn()} />);
    await user.click(screen.getByRole("checkbox", { name: /Dry run/ }));
    await press("Dry run");
    expect(bodies()).toEqual([{ jobType: "weekly_digest", parameters: { dry_run: true }, priority: "MEDIUM" }]);
  });

  it("makes one job of two presses where the first one's answer was lost", async () => {
    api.on(TRIGGER, noNetwork, () => json({ jobId: JOB }, {}, 202));
    mount(<RunDialog type={aType()} onClose={vi.fn()} />);
    await press("Run now");
    await screen.findByRole("alert");
    await press("Run now");
    const sent = api.to(TRIGGER).map((asked) => asked.headers.get("Idempotency-Key"));
    expect(sent[0]).toMatch(/^[0-9a-f]{32}$/);
    expect(sent).toEqual([sent[0], sent[0]]);
  });
});
