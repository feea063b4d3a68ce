import { useQuery } from "@tanstack/react-query";
import { ApiError } from "../api/errors";
import type { JobsQuery } from "../api/queries";
import { STATUSES } from "../api/types";
import { POLL, useInterval, usePanel } from "../panel/context";
import { type Filters, useFilters } from "../panel/filters";
import { useHeading } from "../panel/useHeading";
import { Empty, ErrorNotice, Skeleton } from "../ui/notices";
import { Pager } from "../ui/Pager";
import { HistoryFilters } from "./history/HistoryFilters";
import { HistoryTable } from "./history/HistoryTable";

const LIMIT = 50;

/** Every job there is, newest first, as the filters in the address choose. */
export default function History() {
  const { queries } = usePanel();
  const heading = useHeading("History");
  const [filters, paging] = useFilters();
  const query = { ...queryOf(filters), limit: LIMIT, ...(paging.cursor && { cursor: paging.cursor }) };
  const page = useQuery({ ...queries.jobs(query), refetchInterval: useInterval(POLL.jobs) });
  const busy = page.isPlaceholderData;
  return (
    <>
      <div className="sp-page-head">
        <h1 {...heading}>History</h1>
      </div>
      <HistoryFilters filters={filters} />
      <section className="sp-card" aria-label="Jobs">
        {page.isError && (
          <ErrorNotice
            error={page.error}
            what={page.data && !busy ? "The list may have changed since" : "The jobs cannot be shown"}
            onRetry={staleCursor(page.error) ? paging.newest : () => void page.refetch()}
          />
        )}
        {page.data ? (
          <>
            {page.data.jobs.length > 0 ? (
              <HistoryTable jobs={page.data.jobs} busy={busy} />
            ) : (
              <Empty title={filters.any ? "No job is like that" : "There is no job yet"}>
                {filters.any
                  ? "Take a filter away, or look in the archive for what ended more than 90 days ago."
                  : "Run one from the page of job types, or wait for a schedule."}
              </Empty>
            )}
            <Pager paging={paging} page={page.data} what="jobs" busy={busy} />
          </>
        ) : (
          page.isPending && <Skeleton lines={14} what="the jobs" />
        )}
      </section>
    </>
  );
}

/** What the address asks for, as the API takes it; what it could not take is left out. */
function queryOf(filters: Filters): JobsQuery {
  const [type, status] = [filters.all("type"), filters.all("status")];
  const given = (name: string) => (filters.one(name) ? { [name]: filters.one(name) } : {});
  return {
    ...(type.length > 0 && { type: type as NonNullable<JobsQuery["type"]> }),
    ...(status.length > 0 && { status: STATUSES.filter((one) => status.includes(one)) }),
    ...given("from"),
    ...given("to"),
    ...given("startedBy"),
    ...given("parent"),
    ...(filters.one("archived") === "true" && { archived: true }),
  };
}

/** Whether the page that the address names cannot be shown any more: its cursor is another list's, or an old key's. */
function staleCursor(error: Error): boolean {
  return error instanceof ApiError && error.status === 400 && /cursor/i.test(error.message);
}
