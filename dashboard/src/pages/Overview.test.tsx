import { screen } from "@testing-library/react";
import { expect, it } from "vitest";
import { FakeApi, failure, json } from "../testing/api";
import { aType, mount } from "../testing/panel";
import { user } from "../testing/user";
import Overview from "./Overview";

const counts = { pending: 0, running: 0, completed: 9, failed: 1, cancelled: 0, skipped: 0 };
const numbers = { counts, successRate: 0.9, medianSeconds: 12, queueDepth: 0, running: 0, itemsProcessed: 1 };

it("says what is wrong where the job types alone do not come, and asks again", async () => {
  const api = new FakeApi()
    .on("GET /api/jobs/stats", { overall: numbers, types: [{ ...numbers, jobType: "weekly_digest", daily: [] }] })
    .on("GET /api/jobs", { jobs: [], total: 0, totalIsEstimate: false, page: 1, limit: 50, nextCursor: null })
    .on("GET /api/job-types", () => failure(503, "SERVICE_UNAVAILABLE", "Prefect does not answer"));
  mount(<Overview />);
  const notice = (await screen.findByText("The job types cannot be shown")).closest<HTMLElement>("[role=alert]");
  expect(notice).toHaveTextContent("Prefect does not answer");
  api.on("GET /api/job-types", () => json({ jobTypes: [aType()] }));
  await user.click(screen.getByRole("button", { name: "Try again" }));
  expect(await screen.findByRole("table")).toHaveTextContent("Weekly digest");
});
