import { useQuery } from "@tanstack/react-query";
import { createColumnHelper } from "@tanstack/react-table";
import { Link } from "wouter";
import type { AuditQuery } from "../api/queries";
import type { AuditEntry } from "../api/types";
import { usePanel } from "../panel/context";
import { useFilters } from "../panel/filters";
import { useTitles } from "../panel/titles";
import { useHeading } from "../panel/useHeading";
import { Button } from "../ui/Button";
import { DataTable } from "../ui/DataTable";
import { Empty, ErrorNotice, Skeleton } from "../ui/notices";
import { Pager } from "../ui/Pager";
import { Time } from "../ui/Time";
import { shortId, words } from "../ui/words";
import { TextFilter } from "./history/TextFilter";
import { TimeFilter } from "./history/TimeFilter";

const LIMIT = 50;
const POLL_MS = 15_000;
const ACTIONS = ["trigger", "cancel", "retry", "recover", "pause", "resume", "edit_schedule", "reset_schedule"];
const NAMES = ["actor", "action", "jobId", "type", "from", "to"] as const;

/** Who did what, newest first. */
export default function Audit() {
  const { queries } = usePanel();
  const heading = useHeading("Audit");
  const [filters, paging] = useFilters();
  const given = Object.fromEntries(NAMES.flatMap((name) => (filters.one(name) ? [[name, filters.one(name)]] : [])));
  const query = { ...given, limit: LIMIT, ...(paging.cursor && { cursor: paging.cursor }) } as AuditQuery;
  const page = useQuery({ ...queries.audit(query), refetchInterval: POLL_MS });
  const types = useQuery(queries.types()).data ?? [];
  const busy = page.isPlaceholderData;
  return (
    <>
      <div className="sp-page-head">
        <h1 {...heading}>Audit</h1>
      </div>
      <section className="sp-card sp-filters" aria-label="Filters">
        <div className="sp-filter-fields">
          <TextFilter
            label="Who"
            kind="who"
            value={filters.one("actor") ?? ""}
            placeholder="Id of a user, prefect, reconciler"
            onChange={(actor) => filters.set({ actor }, { replace: true })}
          />
          <Choice
            label="What"
            value={filters.one("action") ?? ""}
            options={ACTIONS.map((action) => [action, words(action)])}
            onChange={(action) => filters.set({ action })}
          />
          <Choice
            label="Job type"
            value={filters.one("type") ?? ""}
            options={types.map((type) => [type.jobType, type.title])}
            onChange={(type) => filters.set({ type })}
          />
          <TextFilter
            label="Job"
            kind="job"
            value={filters.one("jobId") ?? ""}
            placeholder="Id of a job"
            onChange={(jobId) => filters.set({ jobId }, { replace: true })}
          />
          <TimeFilter
            label="From"
            value={filters.one("from")}
            notAfter={filters.one("to")}
            onChange={(from) => filters.set({ from }, { replace: true })}
          />
          <TimeFilter
            label="To"
            value={filters.one("to")}
            notBefore={filters.one("from")}
            onChange={(to) => filters.set({ to }, { replace: true })}
          />
        </div>
        {filters.any && (
          <div className="sp-filter-end">
            <Button small look="quiet" onClick={filters.clear}>
              Clear all filters
            </Button>
          </div>
        )}
      </section>
      <section className="sp-card" aria-label="Entries">
        {page.isError && (
          <ErrorNotice error={page.error} what="The audit cannot be shown" onRetry={() => void page.refetch()} />
        )}
        {page.data ? (
          <>
            {page.data.entries.length > 0 ? (
              <DataTable
                caption="What was done, newest first"
                data={page.data.entries}
                columns={COLUMNS}
                rowKey={(entry) => String(entry.id)}
                busy={busy}
              />
            ) : (
              <Empty title={filters.any ? "Nothing is like that" : "Nothing has been done yet"} />
            )}
            <Pager paging={paging} page={page.data} what="entries" busy={busy} />
          </>
        ) : (
          page.isPending && <Skeleton lines={14} what="the audit" />
        )}
      </section>
    </>
  );
}

const column = createColumnHelper<AuditEntry>();

const COLUMNS = [
  column.accessor("action", { header: "What", meta: { heads: true }, cell: ({ getValue }) => words(getValue()) }),
  column.accessor("outcome", {
    header: "Outcome",
    cell: ({ getValue }) => (
      <span className={getValue() === "refused" ? "sp-bad-text" : undefined}>{words(getValue())}</span>
    ),
  }),
  column.accessor("at", { header: "When", cell: ({ getValue }) => <Time at={getValue()} /> }),
  column.accessor("actor", {
    header: "Who",
    cell: ({ getValue }) => <Link href={`/audit?actor=${encodeURIComponent(getValue())}`}>{getValue()}</Link>,
  }),
  column.display({ id: "about", header: "About", cell: ({ row }) => <About entry={row.original} /> }),
  column.display({ id: "more", header: "With", cell: ({ row }) => <More entry={row.original} /> }),
];

function About({ entry }: { entry: AuditEntry }) {
  const title = useTitles();
  const type = entry.jobType ? title(entry.jobType) : null;
  if (!entry.jobId) return type ?? <span className="sp-faint">Everything</span>;
  return (
    <Link href={`/jobs/${entry.jobId}`}>
      {type ?? "Job"} <code className="sp-faint">{shortId(entry.jobId)}</code>
    </Link>
  );
}

function More({ entry }: { entry: AuditEntry }) {
  const told = [entry.parameters, entry.details].filter(
    (one) => one !== null && one !== undefined && JSON.stringify(one) !== "{}",
  );
  if (told.length === 0) return <span className="sp-faint">–</span>;
  return <code className="sp-clip">{told.map((one) => JSON.stringify(one)).join(" ")}</code>;
}

interface ChoiceProps {
  label: string;
  value: string;
  options: readonly (readonly [string, string])[];
  onChange: (value: string | null) => void;
}

function Choice({ label, value, options, onChange }: ChoiceProps) {
  return (
    <label className="sp-field">
      <span className="sp-check-name">{label}</span>
      <select value={value} onChange={(event) => onChange(event.target.value || null)}>
        <option value="">All</option>
        {options.map(([one, name]) => (
          <option key={one} value={one}>
            {name}
          </option>
        ))}
      </select>
    </label>
  );
}
