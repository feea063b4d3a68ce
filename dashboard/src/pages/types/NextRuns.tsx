import { useQuery } from "@tanstack/react-query";
import type { JobTypeView } from "../../api/types";
import { usePanel } from "../../panel/context";
import { Time } from "../../ui/Time";

/** The next times a type starts by itself, or why there are none. */
export function NextRuns({ type }: { type: JobTypeView }) {
  const { queries } = usePanel();
  const paused = useQuery(queries.maintenance()).data?.paused;
  if (type.nextRuns.length === 0) {
    return (
      <p className="sp-next sp-faint">
        {type.cron === null
          ? "It starts only when somebody runs it."
          : !type.enabled
            ? "Disabled: it starts only when somebody runs it."
            : paused
              ? "Everything is paused: no run is due until it is resumed."
              : "No run is due."}
      </p>
    );
  }
  return (
    <div className="sp-next">
      <span className="sp-hint">Next runs</span>
      <ol>
        {type.nextRuns.map((at, number) => (
          <li key={at}>
            <Time at={at} detail="minute" stop={number === 0} />
            {number === 0 && (
              <span className="sp-faint">
                {" · "}
                <Time at={at} relative />
              </span>
            )}
          </li>
        ))}
      </ol>
    </div>
  );
}
