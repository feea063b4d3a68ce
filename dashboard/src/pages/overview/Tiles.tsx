import type { Numbers } from "../../api/types";
import { count, percent } from "../../ui/words";

/** The numbers that say most, large. Their places are kept while they are asked for. */
export function Tiles({ numbers, days }: { numbers: Numbers | undefined; days: number }) {
  const rate = numbers?.successRate ?? null;
  const late = `in ${days} days`;
  const tiles: [string, string | undefined, string, string?][] = [
    ["Running", numbers && count(numbers.running), "now"],
    ["Waiting", numbers && count(numbers.queueDepth), "now"],
    ["Completed", numbers && count(numbers.counts.completed), late],
    ["Failed", numbers && count(numbers.counts.failed), late, numbers && numbers.counts.failed > 0 ? "bad" : ""],
    ["Success rate", numbers && percent(rate), late],
    ["Failure rate", numbers && percent(rate === null ? null : 1 - rate), late],
  ];
  return (
    <dl className="sp-tiles" aria-label="Numbers">
      {tiles.map(([label, value, note, look]) => (
        <div key={label} className={`sp-tile${look ? ` sp-tile-${look}` : ""}`}>
          <dt>{label}</dt>
          <dd>
            <span className="sp-tile-value">{value ?? <span className="sp-skeleton-line" />}</span>
            <span className="sp-faint">{note}</span>
          </dd>
        </div>
      ))}
    </dl>
  );
}
