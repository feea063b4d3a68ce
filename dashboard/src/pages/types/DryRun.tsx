import { useQuery } from "@tanstack/react-query";
import { useCallback, useEffect, useRef } from "react";
import { Link } from "wouter";
import { answered } from "../../api/client";
import { keys } from "../../api/queries";
import { hasEnded, type JobTypeView } from "../../api/types";
import { POLL, useInterval, usePanel } from "../../panel/context";
import { useTrigger } from "../../panel/useTrigger";
import { Button } from "../../ui/Button";
import { Figures } from "../../ui/Figures";
import { LinkedText } from "../../ui/LinkedText";
import { ErrorNotice } from "../../ui/notices";
import { Progress } from "../../ui/Progress";
import { StatusMark } from "../../ui/StatusMark";

interface DryRunProps {
  type: JobTypeView;
  parameters: Record<string, unknown>;
  /** Told whether its numbers are there. */
  onNumbers: (are: boolean) => void;
}

/** Runs the job without its effects, and shows the numbers that it comes to. */
export function DryRun({ type, parameters, onNumbers }: DryRunProps) {
  const { queries } = usePanel();
  const run = useTrigger(type.jobType);
  const { mutateAsync, data, error } = run;
  const follow = useLeaving();
  const wanted = JSON.stringify(parameters);
  // Somebody waits for its numbers: it goes before what else waits.
  const start = useCallback(
    () =>
      mutateAsync({ parameters: JSON.parse(wanted), priority: "HIGH" }).then(
        ({ jobId }) => follow.begun(jobId),
        () => {}, // It is shown as the mutation's error.
      ),
    [mutateAsync, wanted, follow],
  );
  useEffect(() => {
    // A dialog that is drawn twice has one dry run.
    const timer = setTimeout(start, 0);
    return () => clearTimeout(timer);
  }, [start]);
  const id = data?.jobId;
  const interval = Math.min(useInterval(POLL.job), 5_000);
  const job = useQuery({
    ...queries.job(id ?? ""),
    enabled: id !== undefined,
    refetchInterval: ({ state }) => (state.data && hasEnded(state.data.status) ? false : interval),
  }).data;
  const status = id === undefined ? undefined : job?.status;
  useEffect(() => {
    if (status && hasEnded(status)) follow.ended();
    onNumbers(status === "completed");
  }, [status, follow, onNumbers]);
  if (error) {
    return <ErrorNotice error={error} what="The dry run was not started" onRetry={start} />;
  }
  return (
    <section className="sp-dry" aria-label="Dry run" aria-live="polite">
      <div className="sp-card-head">
        <h3>What a dry run finds</h3>
        {job ? <StatusMark status={job.status} /> : <StatusMark status="pending" />}
      </div>
      {job?.status === "running" && <Progress progress={job.progress} label="Progress of the dry run" />}
      {job?.status === "pending" && (
        <p className="sp-hint">
          <LinkedText text={job.pendingReason ?? "It waits for a worker."} />
        </p>
      )}
      {job?.status === "completed" && <Figures result={job.result} />}
      {job && (job.status === "failed" || job.status === "cancelled") && (
        <p className="sp-bad-text">{job.error ?? "It did not complete."}</p>
      )}
      {job && (
        <p className="sp-hint">
          <Link href={`/jobs/${job.id}`} onClick={follow.ended}>
            The dry run's own page
          </Link>
        </p>
      )}
      {job && hasEnded(job.status) && job.status !== "completed" && (
        <Button small onClick={start} busy={run.isPending}>
          Dry run again
        </Button>
      )}
    </section>
  );
}

/** Cancels the dry run that nobody waits for any more: what it is for would wait behind it. */
function useLeaving() {
  const { api, cache } = usePanel();
  const left = useRef(false);
  const open = useRef<string | null>(null);
  const cancel = useCallback(
    async (id: string) => {
      try {
        await answered(api.POST("/api/jobs/{job_id}/cancel", { params: { path: { job_id: id } } }));
      } catch {
        // It has ended meanwhile, or goes on to its end: it changes nothing.
      }
      for (const queryKey of [keys.jobs, keys.types, keys.audit]) void cache.invalidateQueries({ queryKey });
    },
    [api, cache],
  );
  useEffect(() => {
    left.current = false;
    return () => {
      left.current = true;
      if (open.current !== null) void cancel(open.current);
      open.current = null;
    };
  }, [cancel]);
  const made = useRef({
    begun: (id: string): void => {
      if (left.current) void cancel(id);
      else open.current = id;
    },
    /** Also for one that somebody goes on looking at. */
    ended: (): void => {
      open.current = null;
    },
  });
  return made.current;
}
