import type { ReactNode } from "react";
import { Link } from "wouter";
import type { Job } from "../../api/types";
import { useTitles } from "../../panel/titles";
import { LinkedText } from "../../ui/LinkedText";
import { useNow } from "../../ui/now";
import { Progress } from "../../ui/Progress";
import { StatusMark } from "../../ui/StatusMark";
import { Time } from "../../ui/Time";
import { ranFor, startedBy } from "../../ui/who";
import { duration } from "../../ui/words";

interface JobListProps {
  jobs: readonly Job[];
  label: string;
  empty: ReactNode;
}

/** Jobs in short: what, how it stands, since when. */
export function JobList({ jobs, label, empty }: JobListProps) {
  if (jobs.length === 0) return <>{empty}</>;
  return (
    <ul className="sp-jobs" aria-label={label}>
      {jobs.map((job) => (
        <Line key={job.id} job={job} />
      ))}
    </ul>
  );
}

function Line({ job }: { job: Job }) {
  const title = useTitles()(job.jobType);
  const now = useNow(job.status === "running");
  return (
    <li className="sp-job-line">
      <StatusMark status={job.status} cancelling={job.cancel !== null} />
      <Link href={`/jobs/${job.id}`} className="sp-job-title">
        {title}
      </Link>
      <span className="sp-faint sp-job-when">
        {startedBy(job)} · <Time at={job.createdAt} relative />
        {job.startedAt && ` · ${duration(ranFor(job, now))}`}
      </span>
      {job.status === "running" && <Progress progress={job.progress} label={`Progress of ${title}`} />}
      {job.status === "pending" && job.pendingReason && (
        <span className="sp-job-note">
          <LinkedText text={job.pendingReason} />
        </span>
      )}
      {job.status === "failed" && job.error && <span className="sp-job-note sp-bad-text">{job.error}</span>}
    </li>
  );
}
