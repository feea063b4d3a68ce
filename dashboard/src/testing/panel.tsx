/** A panel, or a part of one, on a scheduler that answers as a test says. */
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { type RenderResult, render } from "@testing-library/react";
import type { ReactElement } from "react";
import { Router } from "wouter";
import { memoryLocation } from "wouter/memory-location";
import { makeApi } from "../api/client";
import { makeQueries } from "../api/queries";
import type { Job, JobTypeView } from "../api/types";
import { JobsLive } from "../live/jobs";
import { type Panel, PanelContext } from "../panel/context";
import { connected } from "./api";

/** A part, mounted as it is in a panel, and the addresses it has led to. */
export function mount(part: ReactElement, path = "/"): RenderResult & { visited: string[]; panel: Panel } {
  const connection = connected();
  const api = makeApi(connection);
  const cache = new QueryClient({ defaultOptions: { queries: { retry: false, networkMode: "always" } } });
  const { hook, searchHook, history } = memoryLocation({ path, record: true });
  const panel: Panel = {
    connection,
    api,
    cache,
    queries: makeQueries(api),
    live: new JobsLive(connection, cache),
    prefectUiUrl: undefined,
    onSignIn: undefined,
    ownsAddress: false,
    visits: { count: 0 },
  };
  const rendered = render(
    <PanelContext value={panel}>
      <QueryClientProvider client={cache}>
        <Router hook={hook} searchHook={searchHook}>
          {part}
        </Router>
      </QueryClientProvider>
    </PanelContext>,
  );
  return Object.assign(rendered, { visited: history, panel });
}

export const aJob = (some: Partial<Job> = {}): Job => ({
  id: "0b6ff1f4-3f0c-4f4b-9a3c-0c8a8a0f5a11",
  jobId: "0b6ff1f4-3f0c-4f4b-9a3c-0c8a8a0f5a11",
  jobType: "crawl_pending",
  status: "running",
  startedAt: "2026-11-27T10:00:00Z",
  completedAt: null,
  startedBy: "5f0e8dd4-0000-4000-8000-000000000001",
  error: null,
  result: null,
  progress: null,
  parameters: { max_items: 100 },
  priority: "MEDIUM",
  origin: "dashboard",
  retryOf: null,
  parentId: null,
  flowRunId: null,
  flowRunUrl: null,
  pendingReason: null,
  cancel: null,
  createdAt: "2026-11-27T09:59:58Z",
  updatedAt: "2026-11-27T10:00:00Z",
  estimatedCompletionAt: null,
  estimatedCompletionFrom: null,
  estimatedCompletionTo: null,
  ...some,
});

export const aType = (some: Partial<JobTypeView> = {}): JobTypeView => ({
  jobType: "weekly_digest",
  title: "Weekly digest",
  buttonLabel: "Send Weekly Digest",
  description: "Mails readers.",
  category: "mail",
  lasting: null,
  parameterSchema: {
    properties: {
      dry_run: { type: "boolean", default: false, position: 1, description: "Nothing is sent." },
      shards: { type: "integer", default: 1, minimum: 1, maximum: 16, position: 0, description: "How many share it." },
    },
  },
  defaults: { dry_run: false, shards: 1 },
  cron: "0 9 * * MON",
  timezone: "UTC",
  enabled: true,
  overridden: false,
  overriddenFields: [],
  fileCron: "0 9 * * MON",
  fileTimezone: "UTC",
  fileEnabled: true,
  nextRuns: ["2026-11-30T09:00:00Z"],
  version: 3,
  updatedBy: null,
  updatedAt: null,
  etag: '"3"',
  lastJob: null,
  successRate: 0.5,
  medianDurationSeconds: 12,
  running: 0,
  queued: 0,
  ...some,
});
