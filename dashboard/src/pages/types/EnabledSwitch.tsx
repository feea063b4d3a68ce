import type { JobTypeView } from "../../api/types";
import { ErrorNotice } from "../../ui/notices";
import { useScheduleEdit, WAITS } from "./edits";

/** Switches a schedule on and off. It shows what the API says, and nothing sooner. */
export function EnabledSwitch({ type }: { type: JobTypeView }) {
  const edit = useScheduleEdit(type, type.etag);
  const waits = edit.data?.applied === false;
  if (type.cron === null) return null;
  return (
    <>
      <span className="sp-toggle-set">
        <button
          type="button"
          role="switch"
          className="sp-toggle"
          aria-checked={type.enabled}
          aria-label={`Enabled: ${type.title}`}
          aria-busy={edit.isPending || undefined}
          disabled={edit.isPending}
          onClick={() => edit.mutate({ enabled: !type.enabled })}
        >
          <span className="sp-toggle-knob" aria-hidden="true" />
        </button>
        <span aria-hidden="true">{type.enabled ? "Enabled" : "Disabled"}</span>
      </span>
      {waits && (
        <p className="sp-wide sp-hint" role="status">
          {WAITS}
        </p>
      )}
      {edit.error && (
        <div className="sp-wide">
          <ErrorNotice error={edit.error} what={type.enabled ? "Not disabled" : "Not enabled"} />
        </div>
      )}
    </>
  );
}
