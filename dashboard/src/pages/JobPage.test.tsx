import { screen } from "@testing-library/react";
import { afterEach, expect, it, vi } from "vitest";
import { FakeApi, failure } from "../testing/api";
import { aJob, mount } from "../testing/panel";
import JobPage from "./JobPage";

const { id } = aJob();

afterEach(() => void vi.useRealTimers());

it("asks once for a job that there is not", async () => {
  vi.useFakeTimers({ shouldAdvanceTime: true });
  const api = new FakeApi().on(`GET /api/jobs/${id}`, () => failure(404, "JOB_NOT_FOUND", "No such job"));
  mount(<JobPage id={id} />);
  expect(await screen.findByText("There is no such job")).toBeVisible();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(api.to(`GET /api/jobs/${id}`)).toHaveLength(1);
});

it.each(["nonsense", "0b6ff1f4", `${id}0`])("asks nothing where the address is no job's: %s", async (other) => {
  const api = new FakeApi().on("GET /api/job-types", { jobTypes: [] });
  mount(<JobPage id={other} />);
  expect(screen.getByText("There is no such job")).toBeVisible();
  expect(api.asked.filter(({ path }) => path.startsWith("/api/jobs/"))).toEqual([]);
});
