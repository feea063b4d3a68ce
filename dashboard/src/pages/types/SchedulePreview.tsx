import { useQuery } from "@tanstack/react-query";
import { answered } from "../../api/client";
import { ApiError } from "../../api/errors";
import { usePanel } from "../../panel/context";
import { cronWords } from "../../ui/cron";
import { useDebounced } from "../../ui/debounced";
import { ErrorNotice } from "../../ui/notices";
import { Time } from "../../ui/Time";
import { cronProblem, zoneProblem } from "./cronProblem";

export interface Preview {
  nextRuns: { at: string; local: string }[] | null;
  problem: { field: "cron" | "timezone"; message: string } | null;
  error: Error | null;
  isAsking: boolean;
}

const PAUSE_MS = 250;

/** What the API makes of a schedule, asked a moment after somebody has stopped typing; never about half of one. */
export function usePreview(cron: string, timezone: string): Preview {
  const { api } = usePanel();
  const given = `${cron.trim()}\n${timezone.trim()}`;
  const asked = useDebounced(given, PAUSE_MS);
  const [askedCron = "", askedZone = ""] = asked.split("\n");
  const plain = plainProblem(cron.trim(), timezone.trim());
  const answer = useQuery({
    queryKey: ["preview", askedCron, askedZone],
    queryFn: ({ signal }) =>
      answered(api.POST("/api/schedules/preview", { body: { cron: askedCron, timezone: askedZone }, signal })),
    // What was typed since is looked at first.
    enabled: plain === null && asked === given,
    staleTime: 30_000,
    retry: false,
  });
  const error = plain ? null : answer.error;
  return {
    nextRuns:
      answer.data && !plain
        ? answer.data.nextRuns.map((at, number) => ({ at, local: answer.data.nextRunsLocal[number] ?? at }))
        : null,
    problem: plain ?? problemOf(error),
    error: problemOf(error) ? null : error,
    isAsking: plain === null && (asked !== given || answer.isFetching),
  };
}

function plainProblem(cron: string, timezone: string): Preview["problem"] {
  const [ofCron, ofZone] = [cronProblem(cron), zoneProblem(timezone)];
  if (ofCron) return { field: "cron", message: sentence(ofCron) };
  return ofZone ? { field: "timezone", message: sentence(ofZone) } : null;
}

function problemOf(error: Error | null): Preview["problem"] {
  if (!(error instanceof ApiError) || error.status !== 400) return null;
  const [[field, message] = ["cron", error.message]] = error.fields;
  return { field: field === "timezone" ? "timezone" : "cron", message: sentence(message) };
}

const sentence = (text: string): string => `It ${text.replace(/^Value error, /, "")}.`.replace("..", ".");

/** The next five runs, in the schedule's zone and in the viewer's; their place is kept while they are asked for. */
export function SchedulePreview({ preview, cron }: { preview: Preview; cron: string }) {
  const { nextRuns, problem, error, isAsking } = preview;
  return (
    <section className="sp-preview" aria-label="What comes of it" aria-busy={isAsking || undefined}>
      <p className="sp-preview-words">{(!problem && cronWords(cron)) || "\u00a0"}</p>
      <ol aria-label="Next runs" aria-live="polite">
        {!problem &&
          nextRuns?.map(({ at, local }) => (
            <li key={at}>
              <span>{local}</span>
              <span className="sp-faint">
                <Time at={at} detail="minute" />
              </span>
            </li>
          ))}
        {problem && <li className="sp-faint">It would never run.</li>}
      </ol>
      {error && <ErrorNotice error={error} what="The next runs cannot be shown" />}
    </section>
  );
}
