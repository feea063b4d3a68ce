import { type FormEvent, useId, useMemo, useState } from "react";
import { useLocation } from "wouter";
import { ApiError } from "../../api/errors";
import { type JobTypeView, PRIORITIES, type Priority } from "../../api/types";
import { ParameterFields } from "../../forms/ParameterFields";
import { fieldsOf } from "../../forms/schema";
import { begin, readAll } from "../../forms/values";
import { useTrigger } from "../../panel/useTrigger";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { Field } from "../../ui/Field";
import { ErrorNotice } from "../../ui/notices";
import { words } from "../../ui/words";
import { ConfirmDialog } from "./ConfirmDialog";

const DRY = "dry_run";

/** Asks what a job is to be run with; for one that mails or deletes, also whether, with what a dry run has found. */
export function RunDialog({ type, onClose }: { type: JobTypeView; onClose: () => void }) {
  const fields = useMemo(() => fieldsOf(type.parameterSchema), [type.parameterSchema]);
  const [values, setValues] = useState(() => begin(fields));
  const [priority, setPriority] = useState<Priority>("MEDIUM");
  const [tried, setTried] = useState(false);
  const [asking, setAsking] = useState(false);
  const [, go] = useLocation();
  const form = useId();
  const run = useTrigger(type.jobType);
  const { parameters, problems } = readAll(fields, values);
  const canBeDry = fields.some((field) => field.name === DRY && field.kind === "boolean");
  const isDry = parameters[DRY] === true;
  const mustAsk = type.lasting !== null && !isDry;
  const start = () => run.mutate({ parameters, priority }, { onSuccess: ({ jobId }) => go(`/jobs/${jobId}`) });

  const submit = (event: FormEvent) => {
    event.preventDefault();
    setTried(true);
    if (problems.size > 0) return;
    if (mustAsk) setAsking(true);
    else start();
  };

  // Two dialogs, each with a key: the second is opened and announced by itself, with the focus in it.
  if (asking && type.lasting) {
    return (
      <ConfirmDialog
        key="confirm"
        type={type}
        lasting={type.lasting}
        dry={canBeDry ? { ...parameters, [DRY]: true } : null}
        busy={run.isPending}
        error={run.error}
        onRun={start}
        onBack={() => setAsking(false)}
        onClose={onClose}
      />
    );
  }

  const refused = refusedFields(run.error);
  const shown = tried ? problems : new Map<string, string>();
  return (
    <Dialog
      key="form"
      title={type.buttonLabel}
      onClose={onClose}
      actions={
        <>
          <Button onClick={onClose}>Cancel</Button>
          <Button type="submit" form={form} look="primary" busy={run.isPending}>
            {mustAsk ? "Continue" : isDry ? "Dry run" : "Run now"}
          </Button>
        </>
      }
    >
      <form id={form} onSubmit={submit} className="sp-form" noValidate>
        {type.description && <p className="sp-faint">{type.description}</p>}
        <ParameterFields
          fields={fields}
          values={values}
          problems={new Map([...shown, ...refused])}
          onChange={(changed) => {
            setValues(changed);
            run.reset();
          }}
        />
        <Field label="Priority" hint="Of jobs that wait, those of high priority start first.">
          {(props) => (
            <select {...props} value={priority} onChange={(event) => setPriority(event.target.value as Priority)}>
              {PRIORITIES.map((one) => (
                <option key={one} value={one}>
                  {words(one)}
                </option>
              ))}
            </select>
          )}
        </Field>
        {(type.running > 0 || type.queued > 0) && (
          <p className="sp-hint">One of this type runs or waits already: this one waits for its turn.</p>
        )}
        {run.error && <ErrorNotice error={run.error} what="The job was not started" />}
      </form>
    </Dialog>
  );
}

/** What the API says is wrong with single parameters, by their names. */
function refusedFields(error: Error | null): Map<string, string> {
  if (!(error instanceof ApiError)) return new Map();
  const own = [...error.fields].filter(([field]) => field.startsWith("parameters."));
  return new Map(own.map(([field, message]) => [field.split(".")[1] ?? field, message]));
}
