import { useMutation } from "@tanstack/react-query";
import { type FormEvent, useId, useState } from "react";
import { answered } from "../api/client";
import { keys } from "../api/queries";
import { Button } from "../ui/Button";
import { Dialog } from "../ui/Dialog";
import { Field } from "../ui/Field";
import { EARLIEST, fromLocalInput, LATEST } from "../ui/local";
import { ErrorNotice } from "../ui/notices";
import { localZone } from "../ui/words";
import { usePanel } from "./context";

/** Asks why everything is to stop starting, or to start again, and shows what the scheduler made of it. */
export function PauseDialog({ paused, onClose }: { paused: boolean; onClose: () => void }) {
  const { api, cache } = usePanel();
  const [reason, setReason] = useState("");
  const [until, setUntil] = useState("");
  const form = useId();
  const change = useMutation({
    mutationFn: () =>
      answered(
        api.PUT("/api/maintenance", {
          body: {
            paused: !paused,
            ...(reason.trim() && { reason: reason.trim() }),
            ...(!paused && until && { until: fromLocalInput(until) }),
          },
        }),
      ),
    onSuccess: (said) => {
      cache.setQueryData(keys.maintenance, said);
      for (const queryKey of [keys.system, keys.types, keys.audit, keys.jobs])
        void cache.invalidateQueries({ queryKey });
      onClose();
    },
  });
  const submit = (event: FormEvent) => {
    event.preventDefault();
    change.mutate();
  };
  const fields = change.error && "fields" in change.error ? (change.error.fields as Map<string, string>) : null;
  return (
    <Dialog
      title={paused ? "Resume all" : "Pause all"}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>Back</Button>
          <Button type="submit" form={form} look="primary" busy={change.isPending}>
            {paused ? "Resume" : "Pause"}
          </Button>
        </>
      }
    >
      <form id={form} onSubmit={submit} className="sp-form">
        <p>
          {paused
            ? "Jobs that wait start, each as its turn comes; of schedules that fired meanwhile only the latest of each runs."
            : "No job starts until it is resumed: neither schedules nor triggers nor retries. Jobs that run now go on; whatever is asked for meanwhile waits and starts then."}
        </p>
        <Field
          label={paused ? "Why (if you like)" : "Why"}
          problem={fields?.get("reason")}
          hint="Everybody who waits sees it."
        >
          {(props) => (
            <input
              {...props}
              type="text"
              value={reason}
              maxLength={500}
              required={!paused}
              onChange={(event) => setReason(event.target.value)}
            />
          )}
        </Field>
        {!paused && (
          <Field
            label="Until (if you know)"
            problem={fields?.get("until")}
            hint={`By your clock, ${localZone()}. Without it, it lasts until somebody resumes.`}
          >
            {(props) => (
              <input
                {...props}
                type="datetime-local"
                min={EARLIEST}
                max={LATEST}
                value={until}
                onChange={(event) => setUntil(event.target.value)}
              />
            )}
          </Field>
        )}
        {change.error && <ErrorNotice error={change.error} what={paused ? "Not resumed" : "Not paused"} />}
      </form>
    </Dialog>
  );
}
