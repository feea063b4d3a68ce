import { useQuery } from "@tanstack/react-query";
import { Link } from "wouter";
import { hasEnded, type Job } from "../../api/types";
import { POLL, useInterval, usePanel } from "../../panel/context";
import { count } from "../../ui/words";
import { JobList } from "../overview/JobList";

const MOST = 16;

/** The jobs that share a job's work, where there are any. */
export function Shards({ job }: { job: Job }) {
  const { queries } = usePanel();
  const interval = useInterval(POLL.jobs);
  const shards = useQuery({
    ...queries.jobs({ parent: job.id, limit: MOST }),
    enabled: job.parentId === null,
    refetchInterval: hasEnded(job.status) ? false : interval,
  }).data;
  if (!shards || shards.jobs.length === 0) return null;
  return (
    <section className="sp-card" aria-labelledby="sp-shards">
      <div className="sp-card-head">
        <h2 id="sp-shards">Shards</h2>
        <Link href={`/history?parent=${job.id}`}>{count(shards.total)} in the history</Link>
      </div>
      <JobList jobs={shards.jobs} label="Shards" empty={null} />
    </section>
  );
}
