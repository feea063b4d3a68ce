import { scaleBand, scaleSqrt } from "d3-scale";
import type { DayNumbers } from "../api/types";
import { count, plural } from "./words";

const WIDTH = 150;
const HEIGHT = 36;
const BASE = 25;
const LEAST = 1.5;

/** A month of ends, a bar a day: what completed stands above the line, what failed hangs below it. */
export function Sparkline({ days, title }: { days: readonly DayNumbers[]; title: string }) {
  const most = Math.max(1, ...days.map((day) => Math.max(day.completed, day.failed)));
  const across = scaleBand(
    days.map((day) => day.date),
    [0, WIDTH],
  ).padding(0.22);
  // By the root: one failure beside a hundred completed jobs can still be seen.
  const up = scaleSqrt([0, most], [0, BASE - 2]);
  const down = scaleSqrt([0, most], [0, HEIGHT - BASE - 2]).clamp(true);
  return (
    <svg className="sp-spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={`${title}: ${summary(days)}`}>
      <line x1="0" x2={WIDTH} y1={BASE} y2={BASE} className="sp-spark-base" />
      {days.map((day) => {
        const [x, width] = [across(day.date) ?? 0, across.bandwidth()];
        const [good, bad] = [height(up(day.completed)), height(down(day.failed))];
        return (
          <g key={day.date}>
            <title>{`${day.date}: ${count(day.completed)} completed, ${count(day.failed)} failed`}</title>
            <rect x={x} width={width} y={0} height={HEIGHT} className="sp-spark-day" />
            {good > 0 && <rect x={x} width={width} y={BASE - 0.5 - good} height={good} className="sp-spark-good" />}
            {bad > 0 && <rect x={x} width={width} y={BASE + 0.5} height={bad} className="sp-spark-bad" />}
          </g>
        );
      })}
    </svg>
  );
}

function height(drawn: number): number {
  return drawn > 0 ? Math.max(LEAST, drawn) : 0;
}

/** The same in words, for whoever does not see it. */
export function summary(days: readonly DayNumbers[]): string {
  const completed = days.reduce((sum, day) => sum + day.completed, 0);
  const failed = days.reduce((sum, day) => sum + day.failed, 0);
  const bad = days.filter((day) => day.failed > 0);
  const where = bad.length > 0 ? `, on ${plural(bad.length, "day")}, last on ${bad.at(-1)?.date}` : "";
  return `${count(completed)} completed and ${count(failed)} failed in ${plural(days.length, "day")}${where}`;
}
