import type { Job } from "../../api/types";
import { LinkedText } from "../../ui/LinkedText";
import { useNow } from "../../ui/now";
import { Progress } from "../../ui/Progress";
import { Time } from "../../ui/Time";
import { ranFor } from "../../ui/who";
import { duration } from "../../ui/words";

/** How far a job that has not ended has come, and when it can be expected to end. */
export function Course({ job }: { job: Job }) {
  const now = useNow(job.status === "running");
  if (job.status === "pending") {
    return (
      <section className="sp-card" aria-labelledby="sp-course">
        <h2 id="sp-course">Waiting</h2>
        <p>
          <LinkedText text={job.pendingReason ?? "It waits for a worker."} />
        </p>
      </section>
    );
  }
  if (job.status !== "running") return null;
  return (
    <section className="sp-card" aria-labelledby="sp-course">
      <div className="sp-card-head">
        <h2 id="sp-course">Progress</h2>
        <span className="sp-faint">Runs for {duration(ranFor(job, now))}</span>
      </div>
      <Progress progress={job.progress} label="Progress" />
      <p className="sp-estimate">
        <Estimate job={job} />
      </p>
    </section>
  );
}

function Estimate({ job }: { job: Job }) {
  const { estimatedCompletionAt: middle, estimatedCompletionFrom: from, estimatedCompletionTo: to } = job;
  if (job.cancel) return "It has been told to stop.";
  if (!middle || !from || !to) {
    return (
      <span className="sp-faint">
        No estimate of its end: there are fewer than five earlier runs to go by, or it takes longer than they did.
      </span>
    );
  }
  return (
    <>
      Expected to end <strong>between</strong> <Time at={from} stop /> <strong>and</strong> <Time at={to} stop />, most
      likely <Time at={middle} relative stop />.
    </>
  );
}
