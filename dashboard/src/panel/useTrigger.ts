import { useMutation } from "@tanstack/react-query";
import { useRef } from "react";
import { answered, newIdempotencyKey } from "../api/client";
import { keys } from "../api/queries";
import type { JobType, Priority } from "../api/types";
import { usePanel } from "./context";

export interface Order {
  parameters: Record<string, unknown>;
  priority: Priority;
}

/**
 * Starts a job. Whoever presses again because no answer came gets the job that the first press has made, if it has: the
 * key stays for as long as what is asked for does.
 */
export function useTrigger(jobType: string) {
  const { api, cache } = usePanel();
  const sent = useRef<{ order: string; key: string } | null>(null);
  return useMutation({
    mutationFn: ({ parameters, priority }: Order) => {
      const order = JSON.stringify([parameters, priority]);
      if (sent.current?.order !== order) sent.current = { order, key: newIdempotencyKey() };
      return answered(
        api.POST("/api/jobs/trigger", {
          params: { header: { "Idempotency-Key": sent.current.key } },
          body: { jobType: jobType as JobType, parameters, priority },
        }),
      );
    },
    onSuccess: () => {
      sent.current = null;
      for (const queryKey of [keys.jobs, keys.types, keys.audit]) void cache.invalidateQueries({ queryKey });
    },
  });
}
