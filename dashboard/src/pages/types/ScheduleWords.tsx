import { cronWords } from "../../ui/cron";

/** When a schedule runs, in plain words with its zone, and as it is written. */
export function ScheduleWords({ cron, timezone }: { cron: string | null; timezone: string }) {
  if (cron === null) return <span>Has no schedule</span>;
  const said = cronWords(cron);
  return (
    <span className="sp-cron">
      {said && (
        <span className="sp-cron-words">
          {said} <span className="sp-faint">({timezone})</span>
        </span>
      )}
      <code>{cron}</code>
      {!said && <span className="sp-faint">({timezone})</span>}
    </span>
  );
}
