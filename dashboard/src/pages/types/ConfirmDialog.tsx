import { useState } from "react";
import type { JobTypeView } from "../../api/types";
import { Button } from "../../ui/Button";
import { Dialog } from "../../ui/Dialog";
import { ErrorNotice } from "../../ui/notices";
import { DryRun } from "./DryRun";

const WARNINGS = {
  mails: "This sends mail to people. What was sent cannot be taken back.",
  deletes: "This deletes data. What was deleted cannot be brought back.",
} as const;

interface ConfirmDialogProps {
  type: JobTypeView;
  lasting: keyof typeof WARNINGS;
  /** What a dry run is run with; null for a type that has none. */
  dry: Record<string, unknown> | null;
  busy: boolean;
  error: Error | null;
  onRun: () => void;
  onBack: () => void;
  onClose: () => void;
}

/** Asks whether a job that mails or deletes is to be run, once a dry run has told how much it comes to. */
export function ConfirmDialog({ type, lasting, dry, busy, error, onRun, onBack, onClose }: ConfirmDialogProps) {
  const [isKnown, setKnown] = useState(dry === null);
  const [goesBlind, setGoesBlind] = useState(false);
  return (
    <Dialog
      title={`${type.buttonLabel}?`}
      onClose={onClose}
      actions={
        <>
          <Button className="sp-start" onClick={onBack} disabled={busy}>
            Back
          </Button>
          <Button onClick={onClose}>Cancel</Button>
          <Button look="danger" busy={busy} disabled={!isKnown && !goesBlind} onClick={onRun}>
            Run now
          </Button>
        </>
      }
    >
      <p>
        <strong>{WARNINGS[lasting]}</strong>
      </p>
      {dry ? (
        <DryRun type={type} parameters={dry} onNumbers={setKnown} />
      ) : (
        <p>It has no dry run: how many it would reach is known when it has run.</p>
      )}
      {(!isKnown || goesBlind) && (
        <label className="sp-check">
          <input type="checkbox" checked={goesBlind} onChange={(event) => setGoesBlind(event.target.checked)} />
          <span>Run without waiting for the numbers</span>
        </label>
      )}
      {error && <ErrorNotice error={error} what="The job was not started" />}
    </Dialog>
  );
}
