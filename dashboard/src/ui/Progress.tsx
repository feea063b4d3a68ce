import type { Job } from "../api/types";
import { count, words } from "./words";

interface Told {
  itemsProcessed?: unknown;
  itemsTotal?: unknown;
  phase?: unknown;
}

/** How far a job has come, as it says itself; without a total, only how many items it has done. */
export function Progress({ progress, label }: { progress: Job["progress"]; label: string }) {
  const { itemsProcessed, itemsTotal, phase } = (progress ?? {}) as Told;
  const done = typeof itemsProcessed === "number" ? itemsProcessed : 0;
  const total = typeof itemsTotal === "number" && itemsTotal > 0 ? itemsTotal : null;
  const share = total === null ? null : Math.min(1, done / total);
  const text = total === null ? `${count(done)} done` : `${count(done)} of ${count(total)}`;
  return (
    <div className="sp-progress">
      <div
        className={`sp-progress-track${share === null ? " sp-progress-open" : ""}`}
        role="progressbar"
        aria-label={label}
        aria-valuetext={text}
        {...(share !== null && { "aria-valuenow": Math.round(share * 100), "aria-valuemin": 0, "aria-valuemax": 100 })}
      >
        <span className="sp-progress-bar" style={share === null ? undefined : { width: `${share * 100}%` }} />
      </div>
      <span className="sp-progress-text">
        {text}
        {typeof phase === "string" && phase !== "" && <span className="sp-faint"> · {words(phase)}</span>}
      </span>
    </div>
  );
}
