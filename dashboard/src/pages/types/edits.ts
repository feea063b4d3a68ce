import { useMutation } from "@tanstack/react-query";
import { answered } from "../../api/client";
import { ApiError } from "../../api/errors";
import { keys } from "../../api/queries";
import type { JobTypeView } from "../../api/types";
import { usePanel } from "../../panel/context";

export interface Edit {
  cron?: string;
  timezone?: string;
  enabled?: boolean;
}

/** Said of an edit that is not applied yet. */
export const WAITS = "The edit is kept. Prefect does not answer at the moment and follows as soon as it does.";

/** Changes a schedule, or takes all edits back, where nobody else has edited it since it was read. */
export function useScheduleEdit(type: JobTypeView, etag: string, onDone?: (applied: boolean) => void) {
  const { api, cache } = usePanel();
  return useMutation({
    mutationFn: (edit: Edit | "reset") => {
      const params = { path: { job_type: type.jobType as never }, header: { "If-Match": etag } };
      return edit === "reset"
        ? answered(api.DELETE("/api/job-types/{job_type}/schedule", { params }))
        : answered(api.PATCH("/api/job-types/{job_type}/schedule", { params, body: edit as Required<Edit> }));
    },
    onSuccess: ({ applied }) => onDone?.(applied),
    // Also after a refusal: what is shown may be older than what it was refused for.
    onSettled: () => {
      void cache.invalidateQueries({ queryKey: keys.audit });
      return cache.invalidateQueries({ queryKey: keys.types });
    },
  });
}

/** Whether an edit was refused because somebody else made one first. */
export function wasOvertaken(error: Error | null): boolean {
  return error instanceof ApiError && (error.status === 412 || error.status === 428);
}
