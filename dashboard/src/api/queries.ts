/** What is asked of the API, by name: one key for each, so that whoever hears of a change knows what it touches. */
import { keepPreviousData, queryOptions } from "@tanstack/react-query";
import { type Api, answered } from "./client";
import type { components, operations } from "./schema";

export type JobsQuery = NonNullable<operations["list_jobs_api_jobs_get"]["parameters"]["query"]>;
export type AuditQuery = NonNullable<operations["list_audit_api_audit_get"]["parameters"]["query"]>;
export type Config = components["schemas"]["Config"];

export const keys = {
  jobs: ["jobs"] as const,
  job: (id: string) => ["job", id] as const,
  explain: (id: string) => ["explain", id] as const,
  types: ["job-types"] as const,
  stats: ["stats"] as const,
  system: ["system"] as const,
  maintenance: ["maintenance"] as const,
  audit: ["audit"] as const,
  config: ["config"] as const,
};

export function makeQueries(api: Api) {
  return {
    config: () =>
      queryOptions({
        queryKey: keys.config,
        queryFn: ({ signal }) => answered(api.GET("/api/config", { signal })),
        staleTime: Number.POSITIVE_INFINITY,
      }),
    jobs: (query: JobsQuery) =>
      queryOptions({
        queryKey: [...keys.jobs, query],
        queryFn: ({ signal }) => answered(api.GET("/api/jobs", { params: { query }, signal })),
        placeholderData: keepPreviousData,
      }),
    job: (id: string) =>
      queryOptions({
        queryKey: keys.job(id),
        queryFn: ({ signal }) => answered(api.GET("/api/jobs/{job_id}", { params: { path: { job_id: id } }, signal })),
      }),
    explain: (id: string) =>
      queryOptions({
        queryKey: keys.explain(id),
        queryFn: ({ signal }) =>
          answered(api.GET("/api/jobs/{job_id}/explain", { params: { path: { job_id: id } }, signal })),
      }),
    types: () =>
      queryOptions({
        queryKey: keys.types,
        queryFn: ({ signal }) => answered(api.GET("/api/job-types", { signal })),
        select: (answer) => answer.jobTypes,
      }),
    stats: (days: number) =>
      queryOptions({
        queryKey: [...keys.stats, days],
        queryFn: ({ signal }) => answered(api.GET("/api/jobs/stats", { params: { query: { days } }, signal })),
      }),
    system: () =>
      queryOptions({
        queryKey: keys.system,
        queryFn: ({ signal }) => answered(api.GET("/api/system", { signal })),
      }),
    maintenance: () =>
      queryOptions({
        queryKey: keys.maintenance,
        queryFn: ({ signal }) => answered(api.GET("/api/maintenance", { signal })),
      }),
    audit: (query: AuditQuery) =>
      queryOptions({
        queryKey: [...keys.audit, query],
        queryFn: ({ signal }) => answered(api.GET("/api/audit", { params: { query }, signal })),
        placeholderData: keepPreviousData,
      }),
  };
}

export type Queries = ReturnType<typeof makeQueries>;
