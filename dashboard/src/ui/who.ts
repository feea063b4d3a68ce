import type { Job } from "../api/types";
import { shortId } from "./words";

/** Who, or what, started a job, in a word or two. */
export function startedBy(job: Pick<Job, "startedBy" | "origin">): string {
  if (job.origin === "schedule") return "Schedule";
  if (job.origin === "recovery") return "Recovery";
  if (job.startedBy) return admin(job.startedBy);
  return job.origin === "prefect" ? "Prefect" : "Nobody said";
}

/** An admin by the part of an id that tells one from another: the front of ours, both ends of Clerk's. */
export function admin(id: string): string {
  if (/^[0-9a-f-]{36}$/.test(id)) return `Admin ${shortId(id)}`;
  return `Admin ${id.length > 16 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id}`;
}

/** Seconds that a job has run, or ran; null where it never did. */
export function ranFor(job: Pick<Job, "startedAt" | "completedAt">, now: number): number | null {
  if (job.startedAt === null) return null;
  const end = job.completedAt === null ? now : new Date(job.completedAt).getTime();
  return Math.max(0, (end - new Date(job.startedAt).getTime()) / 1000);
}
