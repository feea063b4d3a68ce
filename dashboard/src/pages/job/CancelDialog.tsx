import { useMutation } from "@tanstack/react-query";
import { answered } from "../../api/client";
import { keys } from "../../api/queries";
import type { Job } from "../../api/types";
import { usePanel } from "../../panel/context";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { ErrorNotice } from "../../ui/notices";

/** Says what a cancel does to a job as it stands, before it is asked for. */
export function CancelDialog({ job, onClose }: { job: Job; onClose: () => void }) {
  const { api, cache } = usePanel();
  const cancel = useMutation({
    mutationFn: () => answered(api.POST("/api/jobs/{job_id}/cancel", { params: { path: { job_id: job.id } } })),
    onSuccess: (told) => {
      cache.setQueryData(keys.job(job.id), told);
      onClose();
    },
    onSettled: () => {
      for (const queryKey of [keys.job(job.id), keys.explain(job.id), keys.jobs, keys.types, keys.audit]) {
        void cache.invalidateQueries({ queryKey });
      }
    },
  });
  return (
    <Dialog
      title="Cancel this job?"
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>Back</Button>
          <Button look="danger" busy={cancel.isPending} onClick={() => cancel.mutate()}>
            Cancel the job
          </Button>
        </>
      }
    >
      {job.status === "pending" ? (
        <p>It has not begun: it is cancelled at once, and nothing happens.</p>
      ) : (
        <>
          <p>
            It runs: it is told to stop at its next sign of life, some seconds from now; what does not stop by itself is
            stopped after 10 s, and ended after 20 s.
          </p>
          <p>
            What it has done by then stays done. It counts as cancelled once its work has stopped, and a receipt then
            says how much was done and whether a retry repeats any of it.
          </p>
        </>
      )}
      {cancel.error && <ErrorNotice error={cancel.error} what="The job was not cancelled" />}
    </Dialog>
  );
}
