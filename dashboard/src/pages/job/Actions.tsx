import { useMutation, useQuery } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { useLocation } from "wouter";
import { answered, newIdempotencyKey } from "../../api/client";
import { keys } from "../../api/queries";
import { hasEnded, type Job } from "../../api/types";
import { usePanel } from "../../panel/context";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { ExternalIcon } from "../../ui/icons";
import { ErrorNotice } from "../../ui/notices";
import { CancelDialog } from "./CancelDialog";

/** What can be done with a job as it stands now. */
export function Actions({ job }: { job: Job }) {
  const [asking, setAsking] = useState<"cancel" | "retry" | null>(null);
  const canCancel = !hasEnded(job.status) && job.cancel === null;
  const canRetry = job.status === "failed" || job.status === "cancelled";
  const url = usePrefectUrl(job);
  return (
    <div className="sp-actions">
      {url && (
        <a className="sp-button sp-button-plain sp-button-link" href={url} target="_blank" rel="noreferrer">
          Prefect
          <ExternalIcon />
          <span className="sp-hidden"> (opens the run in another tab)</span>
        </a>
      )}
      {canRetry && (
        <Button look="primary" onClick={() => setAsking("retry")}>
          Retry
        </Button>
      )}
      {canCancel && (
        <Button look="danger" onClick={() => setAsking("cancel")}>
          Cancel
        </Button>
      )}
      {asking === "cancel" && <CancelDialog job={job} onClose={() => setAsking(null)} />}
      {asking === "retry" && <RetryDialog job={job} onClose={() => setAsking(null)} />}
    </div>
  );
}

function usePrefectUrl(job: Job): string | null {
  const { prefectUiUrl } = usePanel();
  if (!job.flowRunId) return null;
  return prefectUiUrl ? `${prefectUiUrl.replace(/\/+$/, "")}/runs/flow-run/${job.flowRunId}` : job.flowRunUrl;
}

function RetryDialog({ job, onClose }: { job: Job; onClose: () => void }) {
  const { api, cache, queries } = usePanel();
  const [, go] = useLocation();
  const key = useRef(newIdempotencyKey());
  const lasting = useQuery(queries.types()).data?.find((type) => type.jobType === job.jobType)?.lasting;
  const retry = useMutation({
    mutationFn: () =>
      answered(
        api.POST("/api/jobs/{job_id}/retry", {
          params: { path: { job_id: job.id }, header: { "Idempotency-Key": key.current } },
        }),
      ),
    onSuccess: ({ jobId }) => {
      for (const queryKey of [keys.jobs, keys.types, keys.audit]) void cache.invalidateQueries({ queryKey });
      onClose();
      go(`/jobs/${jobId}`);
    },
  });
  return (
    <Dialog
      title="Retry this job?"
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>Back</Button>
          <Button look="primary" busy={retry.isPending} onClick={() => retry.mutate()}>
            Retry
          </Button>
        </>
      }
    >
      <p>
        A new job of this type is accepted with the same parameters, and its page is opened. This one stays as it is.
      </p>
      {lasting === "mails" && <p>Whoever has had their mail is not mailed again: each mail goes out once.</p>}
      {lasting === "deletes" && <p>It goes on deleting what is due to be deleted.</p>}
      {job.cancel?.safeToRetry === false && <p>It may repeat something that the cancelled job has done.</p>}
      {retry.error && <ErrorNotice error={retry.error} what="The job was not retried" />}
    </Dialog>
  );
}
