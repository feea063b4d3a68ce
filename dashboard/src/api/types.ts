/** The API's own names for what it answers, taken from the generated description. */
import type { components } from "./schema";

type Schemas = components["schemas"];

export type Job = Schemas["JobView"];
export type JobStatus = Schemas["JobStatus"];
export type JobPage = Schemas["JobPage"];
export type JobType = Schemas["JobType"];
export type JobTypeView = Schemas["JobTypeView"];
export type Priority = Schemas["Priority"];
export type JobStats = Schemas["JobStats"];
export type Numbers = Schemas["Numbers"];
export type TypeNumbers = Schemas["TypeNumbers"];
export type DayNumbers = Schemas["DayNumbers"];
export type SystemView = Schemas["SystemView"];
export type Explanation = Schemas["Explanation"];
export type LogLine = Schemas["LogLineView"];
export type AuditEntry = Schemas["AuditEntry"];
export type AuditPage = Schemas["AuditPage"];
export type Config = Schemas["Config"];
export type ErrorBody = Schemas["ErrorBody"];

export const STATUSES: readonly JobStatus[] = ["pending", "running", "completed", "failed", "cancelled"];
export const PRIORITIES: readonly Priority[] = ["HIGH", "MEDIUM", "LOW"];

export function hasEnded(status: JobStatus): boolean {
  return status === "completed" || status === "failed" || status === "cancelled";
}
