import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { ApiError } from "../api/errors";
import { hasEnded, type Job } from "../api/types";
import { POLL, useInterval, usePanel } from "../panel/context";
import { useTitles } from "../panel/titles";
import { useHeading } from "../panel/useHeading";
import { Empty, ErrorNotice, Skeleton } from "../ui/notices";
import { StatusMark } from "../ui/StatusMark";
import { shortId } from "../ui/words";
import { Actions } from "./job/Actions";
import { Course } from "./job/Course";
import { ExplanationCard } from "./job/ExplanationCard";
import { Facts } from "./job/Facts";
import { LogViewer } from "./job/LogViewer";
import { Outcome } from "./job/Outcome";
import { Shards } from "./job/Shards";

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** One job: how it stands and why, what came of it, what it says, and what can be done about it. */
export default function JobPage({ id }: { id: string }) {
  const { queries } = usePanel();
  const interval = useInterval(POLL.job);
  const isId = UUID.test(id);
  const job = useQuery({
    ...queries.job(id),
    // An address that names no job at all needs no question, and a job that is gone does not come back.
    enabled: isId,
    refetchInterval: ({ state }) =>
      isMissing(state.error) || (state.data && hasEnded(state.data.status)) ? false : Math.min(interval, 10_000),
  });
  const title = useTitles()(job.data?.jobType ?? "");
  const heading = useHeading(job.data ? `${title} ${shortId(id)}` : "Job");
  const found = job.data;
  return (
    <>
      <div className="sp-page-head">
        <div className="sp-job-head">
          {/* One element before and after the job is there: it has the focus when the page is opened. */}
          <h1 {...heading}>{found ? title : "Job"}</h1>
          {found && (
            <>
              <span className="sp-job-status" role="status">
                <StatusMark status={found.status} cancelling={found.cancel !== null} />
              </span>
              <code className="sp-faint">{found.id}</code>
            </>
          )}
        </div>
        {found && <Actions job={found} />}
      </div>
      {found ? (
        <>
          {job.isError && <ErrorNotice error={job.error} what="The job may have changed since" />}
          <Whole job={found} />
        </>
      ) : !isId || isMissing(job.error) ? (
        <Empty title="There is no such job">
          It may have been removed, or the address is wrong. <Link href="/history">Look in the history</Link>
        </Empty>
      ) : !job.isError ? (
        <Skeleton lines={10} what="the job" />
      ) : (
        <ErrorNotice error={job.error} what="The job cannot be shown" onRetry={() => void job.refetch()} />
      )}
    </>
  );
}

function isMissing(error: Error | null): boolean {
  return error instanceof ApiError && error.status === 404;
}

function Whole({ job }: { job: Job }) {
  return (
    <div className="sp-job-columns">
      <div className="sp-stack">
        <Course job={job} />
        <Outcome job={job} />
        <Shards job={job} />
        <LogViewer jobId={job.id} />
      </div>
      <div className="sp-stack">
        <ExplanationCard job={job} />
        <Facts job={job} />
      </div>
    </div>
  );
}
