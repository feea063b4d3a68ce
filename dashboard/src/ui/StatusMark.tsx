import type { JobStatus } from "../api/types";
import { CheckIcon, ClockIcon, CrossIcon, SpinnerIcon, StopIcon } from "./icons";

const MARKS: Record<JobStatus, { word: string; icon: () => React.ReactElement }> = {
  pending: { word: "Waiting", icon: ClockIcon },
  running: { word: "Running", icon: SpinnerIcon },
  completed: { word: "Completed", icon: CheckIcon },
  failed: { word: "Failed", icon: CrossIcon },
  cancelled: { word: "Cancelled", icon: StopIcon },
};

export function statusWord(status: JobStatus): string {
  return MARKS[status].word;
}

/** A job's status as a drawing and as a word: nobody has to tell colours apart. */
export function StatusMark({ status, cancelling = false }: { status: JobStatus; cancelling?: boolean }) {
  const { word, icon: Icon } = MARKS[status];
  return (
    <span className={`sp-status sp-status-${status}`}>
      <Icon />
      <span>{cancelling && status === "running" ? "Cancelling" : word}</span>
    </span>
  );
}
