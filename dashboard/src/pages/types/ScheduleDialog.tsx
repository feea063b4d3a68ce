import { type FormEvent, useId, useState } from "react";
import { ApiError } from "../../api/errors";
import type { JobTypeView } from "../../api/types";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { Field } from "../../ui/Field";
import { ErrorNotice } from "../../ui/notices";
import { useScheduleEdit, WAITS, wasOvertaken } from "./edits";
import { SchedulePreview, usePreview } from "./SchedulePreview";
import { ScheduleWords } from "./ScheduleWords";
import { TIME_ZONES } from "./zones";

/** Edits when a job type runs by itself, with a look at what comes of it before it is saved. */
export function ScheduleDialog({ type, onClose }: { type: JobTypeView; onClose: () => void }) {
  // What the edit is made on. It stays while the list moves on beneath, so that an edit of somebody else is noticed.
  const [base, setBase] = useState(type);
  const [cron, setCron] = useState(type.cron ?? "");
  const [timezone, setTimezone] = useState(type.timezone);
  const [waits, setWaits] = useState(false);
  const form = useId();
  const zones = useId();
  const edit = useScheduleEdit(type, base.etag, (applied) => (applied ? onClose() : setWaits(true)));
  const preview = usePreview(cron, timezone);
  const overtaken = wasOvertaken(edit.error);
  const changed = cron.trim() !== (base.cron ?? "") || timezone.trim() !== base.timezone;

  const submit = (event: FormEvent) => {
    event.preventDefault();
    edit.mutate({
      ...(cron.trim() !== (base.cron ?? "") && { cron: cron.trim() }),
      ...(timezone.trim() !== base.timezone && { timezone: timezone.trim() }),
    });
  };
  const takeTheirs = () => {
    setBase(type);
    setCron(type.cron ?? "");
    setTimezone(type.timezone);
    edit.reset();
  };
  const keepMine = () => {
    setBase(type);
    edit.reset();
  };

  if (waits) {
    return (
      <Dialog title={`Schedule of ${type.title}`} onClose={onClose} actions={<Button onClick={onClose}>Close</Button>}>
        <p role="status">{WAITS}</p>
      </Dialog>
    );
  }
  return (
    <Dialog
      title={`Schedule of ${type.title}`}
      onClose={onClose}
      wide
      actions={
        <>
          {base.overridden && (
            <Button className="sp-start" onClick={() => edit.mutate("reset")} disabled={edit.isPending || overtaken}>
              Back to the file's
            </Button>
          )}
          <Button onClick={onClose}>Cancel</Button>
          <Button
            type="submit"
            form={form}
            look="primary"
            busy={edit.isPending}
            disabled={!changed || overtaken || preview.isAsking || preview.problem !== null}
          >
            Save
          </Button>
        </>
      }
    >
      <form id={form} onSubmit={submit} className="sp-form">
        <Field
          label="Cron"
          hint="Minute, hour, day of month, month, day of week; or @hourly, @daily, @weekly, @monthly, @yearly."
          problem={preview.problem?.field === "cron" ? preview.problem.message : undefined}
        >
          {(props) => (
            <input
              {...props}
              className="sp-mono"
              type="text"
              value={cron}
              maxLength={200}
              spellCheck={false}
              autoComplete="off"
              onChange={(event) => setCron(event.target.value)}
            />
          )}
        </Field>
        <Field
          label="Time zone"
          hint="By its IANA name. Summer time is kept to."
          problem={preview.problem?.field === "timezone" ? preview.problem.message : undefined}
        >
          {(props) => (
            <>
              <input
                {...props}
                type="text"
                list={zones}
                value={timezone}
                maxLength={64}
                spellCheck={false}
                autoComplete="off"
                onChange={(event) => setTimezone(event.target.value)}
              />
              <datalist id={zones}>
                {TIME_ZONES.map((zone) => (
                  <option key={zone} value={zone} />
                ))}
              </datalist>
            </>
          )}
        </Field>
      </form>
      <SchedulePreview preview={preview} cron={cron} />
      {!type.enabled && (
        <p className="sp-hint">It is disabled: it runs at these times only after it has been enabled.</p>
      )}
      {base.overridden && (
        <p className="sp-hint">
          The file says: <ScheduleWords cron={base.fileCron} timezone={base.fileTimezone} />
        </p>
      )}
      {overtaken && (
        <div className="sp-notice sp-notice-warn" role="alert">
          <div className="sp-notice-text">
            <strong>Somebody else edited this schedule meanwhile.</strong>
            <p>
              It is now: <ScheduleWords cron={type.cron} timezone={type.timezone} />
            </p>
            <div className="sp-actions">
              <Button small onClick={takeTheirs}>
                Take theirs
              </Button>
              <Button small onClick={keepMine}>
                Go on with mine
              </Button>
            </div>
          </div>
        </div>
      )}
      {edit.error && !overtaken && <ErrorNotice error={edit.error} what={refused(edit.error)} />}
    </Dialog>
  );
}

function refused(error: Error): string {
  return error instanceof ApiError && error.status === 400
    ? "The schedule is not valid"
    : "The schedule was not changed";
}
