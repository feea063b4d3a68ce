import { createColumnHelper } from "@tanstack/react-table";
import { Link } from "wouter";
import type { Job } from "../../api/types";
import { useTitles } from "../../panel/titles";
import { DataTable } from "../../ui/DataTable";
import { LinkedText } from "../../ui/LinkedText";
import { useNow } from "../../ui/now";
import { StatusMark } from "../../ui/StatusMark";
import { Time } from "../../ui/Time";
import { ranFor, startedBy } from "../../ui/who";
import { count, duration, shortId } from "../../ui/words";

const column = createColumnHelper<Job>();

const COLUMNS = [
  column.display({
    id: "job",
    header: "Job",
    meta: { heads: true },
    cell: ({ row }) => <JobLink job={row.original} />,
  }),
  column.accessor("status", {
    header: "Status",
    cell: ({ row }) => <StatusMark status={row.original.status} cancelling={row.original.cancel !== null} />,
  }),
  column.accessor("createdAt", { header: "Accepted", cell: ({ getValue }) => <Time at={getValue()} /> }),
  column.display({
    id: "duration",
    header: "Ran for",
    meta: { numeric: true },
    cell: ({ row }) => <Duration job={row.original} />,
  }),
  column.display({
    id: "items",
    header: "Items",
    meta: { numeric: true },
    cell: ({ row }) => items(row.original),
  }),
  column.display({ id: "who", header: "Started by", cell: ({ row }) => <Who job={row.original} /> }),
  column.display({ id: "note", header: "What came of it", cell: ({ row }) => <Note job={row.original} /> }),
];

export function HistoryTable({ jobs, busy }: { jobs: readonly Job[]; busy: boolean }) {
  return <DataTable caption="Jobs, newest first" data={jobs} columns={COLUMNS} rowKey={(job) => job.id} busy={busy} />;
}

function JobLink({ job }: { job: Job }) {
  const title = useTitles()(job.jobType);
  return (
    <Link href={`/jobs/${job.id}`}>
      {title} <code className="sp-faint">{shortId(job.id)}</code>
    </Link>
  );
}

function Who({ job }: { job: Job }) {
  if (job.startedBy === null || job.origin === "recovery") return startedBy(job);
  return (
    <Link
      className="sp-whole"
      href={`/history?startedBy=${encodeURIComponent(job.startedBy)}`}
      title="Only jobs of this admin"
    >
      {startedBy(job)}
    </Link>
  );
}

function Duration({ job }: { job: Job }) {
  const now = useNow(job.status === "running");
  return duration(ranFor(job, now));
}

function items(job: Job): string {
  const told = job.status === "running" ? job.progress : job.result;
  const done = told?.itemsProcessed;
  return typeof done === "number" ? count(done) : "–";
}

function Note({ job }: { job: Job }) {
  const errors = job.result?.errors;
  const failed = Array.isArray(errors) ? errors.length : 0;
  const details = job.result?.details as { dryRun?: unknown } | undefined;
  if (job.error)
    return <span className={job.status === "failed" ? "sp-clip sp-bad-text" : "sp-clip"}>{job.error}</span>;
  if (job.status === "pending")
    return (
      <span className="sp-clip sp-faint">
        <LinkedText text={job.pendingReason ?? "Waits for a worker"} />
      </span>
    );
  return (
    <span className="sp-clip sp-faint">
      {[details?.dryRun === true && "Dry run", failed > 0 && `${failed} errors`, job.retryOf && "Retry"]
        .filter(Boolean)
        .join(", ")}
    </span>
  );
}
