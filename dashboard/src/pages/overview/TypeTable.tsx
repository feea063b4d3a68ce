import { createColumnHelper } from "@tanstack/react-table";
import { useMemo } from "react";
import { Link } from "wouter";
import type { JobTypeView, TypeNumbers } from "../../api/types";
import { DataTable } from "../../ui/DataTable";
import { Sparkline } from "../../ui/Sparkline";
import { StatusMark } from "../../ui/StatusMark";
import { Time } from "../../ui/Time";
import { count, duration, percent, words } from "../../ui/words";

interface Row {
  stats: TypeNumbers;
  view: JobTypeView | undefined;
  title: string;
}

const column = createColumnHelper<Row>();

const COLUMNS = [
  column.accessor("title", {
    header: "Job type",
    meta: { heads: true },
    cell: ({ row }) => <Link href={`/history?type=${row.original.stats.jobType}`}>{row.original.title}</Link>,
  }),
  column.display({
    id: "month",
    header: "Each day",
    cell: ({ row }) => <Sparkline days={row.original.stats.daily} title={row.original.title} />,
  }),
  column.accessor((row) => row.stats.successRate ?? -1, {
    id: "success",
    header: "Success",
    meta: { numeric: true },
    cell: ({ row }) => percent(row.original.stats.successRate),
  }),
  column.accessor((row) => row.stats.counts.failed, {
    id: "failed",
    header: "Failed",
    meta: { numeric: true },
    cell: ({ getValue, row }) => {
      const { successRate } = row.original.stats;
      const rate = successRate === null ? "" : ` (${percent(1 - successRate)})`;
      return `${count(getValue())}${rate}`;
    },
  }),
  column.accessor((row) => row.stats.medianSeconds ?? -1, {
    id: "median",
    header: "Median",
    meta: { numeric: true },
    cell: ({ row }) => duration(row.original.stats.medianSeconds),
  }),
  column.accessor((row) => row.stats.running, {
    id: "running",
    header: "Running",
    meta: { numeric: true },
    cell: ({ getValue }) => count(getValue()),
  }),
  column.accessor((row) => row.stats.queueDepth, {
    id: "waiting",
    header: "Waiting",
    meta: { numeric: true },
    cell: ({ getValue }) => count(getValue()),
  }),
  column.accessor((row) => row.view?.lastJob?.createdAt ?? "", {
    id: "last",
    header: "Last job",
    cell: ({ row }) => {
      const job = row.original.view?.lastJob;
      if (!job) return <span className="sp-faint">Never ran</span>;
      return (
        <span className="sp-last">
          <Link href={`/jobs/${job.id}`}>
            <StatusMark status={job.status} cancelling={job.cancel !== null} />
            <span className="sp-hidden">, the last job of {row.original.title}</span>
          </Link>
          <span className="sp-faint">
            <Time at={job.completedAt ?? job.createdAt} relative />
          </span>
        </span>
      );
    },
  }),
];

/** Each job type in a line: its last month, and how it stands. */
export function TypeTable({ stats, types }: { stats: readonly TypeNumbers[]; types: readonly JobTypeView[] }) {
  const rows = useMemo(
    () =>
      stats.map((one) => {
        const view = types.find((type) => type.jobType === one.jobType);
        return { stats: one, view, title: view?.title ?? words(one.jobType) };
      }),
    [stats, types],
  );
  return <DataTable caption="Job types" data={rows} columns={COLUMNS} rowKey={(row) => row.stats.jobType} sortable />;
}
