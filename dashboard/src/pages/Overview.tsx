import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Link } from "wouter";
import { POLL, useInterval, usePanel } from "../panel/context";
import { PauseDialog } from "../panel/PauseDialog";
import { useHeading } from "../panel/useHeading";
import { Button } from "../ui/Button";
import { Empty, ErrorNotice, Skeleton } from "../ui/notices";
import { Health } from "./overview/Health";
import { JobList } from "./overview/JobList";
import { Tiles } from "./overview/Tiles";
import { TypeTable } from "./overview/TypeTable";

const DAYS = 30;

/** How things are: what runs and waits, how jobs of late have ended, and whether all parts are well. */
export default function Overview() {
  const heading = useHeading("Overview");
  return (
    <>
      <div className="sp-page-head">
        <h1 {...heading}>Overview</h1>
        <PauseAll />
      </div>
      <Stats />
      <Health />
      <div className="sp-columns">
        <Open />
        <Recent />
      </div>
    </>
  );
}

function PauseAll() {
  const { queries } = usePanel();
  const [asking, setAsking] = useState(false);
  const said = useQuery(queries.maintenance()).data;
  return (
    <>
      {said && !said.paused && <Button onClick={() => setAsking(true)}>Pause all</Button>}
      {asking && <PauseDialog paused={false} onClose={() => setAsking(false)} />}
    </>
  );
}

function Stats() {
  const { queries } = usePanel();
  const stats = useQuery({ ...queries.stats(DAYS), refetchInterval: useInterval(POLL.jobTypes) });
  const types = useQuery({ ...queries.types(), refetchInterval: useInterval(POLL.jobTypes) });
  if (stats.isError && !stats.data) {
    return <ErrorNotice error={stats.error} what="The numbers cannot be shown" onRetry={() => void stats.refetch()} />;
  }
  return (
    <>
      <Tiles numbers={stats.data?.overall} days={DAYS} />
      <section className="sp-card" aria-labelledby="sp-types">
        <div className="sp-card-head">
          <h2 id="sp-types">Job types, last {DAYS} days</h2>
          <Link href="/job-types">Run, schedule</Link>
        </div>
        {stats.data && types.data ? (
          <TypeTable stats={stats.data.types} types={types.data} />
        ) : types.isError && !types.data ? (
          <ErrorNotice error={types.error} what="The job types cannot be shown" onRetry={() => void types.refetch()} />
        ) : (
          <Skeleton lines={8} what="the job types" />
        )}
      </section>
    </>
  );
}

function Open() {
  const { queries } = usePanel();
  const refetchInterval = useInterval(POLL.jobs);
  const open = useQuery({ ...queries.jobs({ status: ["running", "pending"], limit: 12 }), refetchInterval });
  return (
    <section className="sp-card" aria-labelledby="sp-open">
      <div className="sp-card-head">
        <h2 id="sp-open">Running and waiting</h2>
        {open.data && open.data.total > 12 && (
          <Link href="/history?status=running&status=pending">All {open.data.total}</Link>
        )}
      </div>
      {open.data ? (
        <JobList
          jobs={open.data.jobs}
          label="Running and waiting jobs"
          empty={
            <Empty title="Nothing runs or waits">
              A job that is triggered, or that a schedule starts, is shown here at once.
            </Empty>
          }
        />
      ) : open.isError ? (
        <ErrorNotice error={open.error} what="These jobs cannot be shown" />
      ) : (
        <Skeleton lines={4} what="running jobs" />
      )}
    </section>
  );
}

function Recent() {
  const { queries } = usePanel();
  const refetchInterval = useInterval(POLL.jobs);
  const recent = useQuery({
    ...queries.jobs({ status: ["completed", "failed", "cancelled"], limit: 10 }),
    refetchInterval,
  });
  return (
    <section className="sp-card" aria-labelledby="sp-recent">
      <div className="sp-card-head">
        <h2 id="sp-recent">Recent</h2>
        <Link href="/history">History</Link>
      </div>
      {recent.data ? (
        <JobList
          jobs={recent.data.jobs}
          label="Jobs that ended lately"
          empty={<Empty title="No job has ended yet">Run one from the page of job types.</Empty>}
        />
      ) : recent.isError ? (
        <ErrorNotice error={recent.error} what="These jobs cannot be shown" />
      ) : (
        <Skeleton lines={8} what="recent jobs" />
      )}
    </section>
  );
}
