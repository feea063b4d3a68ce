import { useQuery } from "@tanstack/react-query";
import { type Explanation, hasEnded, type Job } from "../../api/types";
import { POLL, useInterval, usePanel } from "../../panel/context";
import { CheckIcon, CrossIcon, WarningIcon } from "../../ui/icons";
import { LinkedText } from "../../ui/LinkedText";
import { ErrorNotice, Skeleton } from "../../ui/notices";
import { Time } from "../../ui/Time";
import { words } from "../../ui/words";

/** Why a job is where it is: the scheduler's own sentence, and what it looked at. */
export function ExplanationCard({ job }: { job: Job }) {
  const { queries } = usePanel();
  const interval = useInterval(POLL.jobs);
  const explained = useQuery({
    ...queries.explain(job.id),
    refetchInterval: hasEnded(job.status) ? false : Math.min(interval, 15_000),
  });
  // What is explained may be a moment older than the job that is shown.
  const status = explained.data?.status ?? job.status;
  const title = status === "pending" ? "Why it waits" : hasEnded(status) ? "What happened" : "What it is doing";
  return (
    <section className="sp-card" aria-labelledby="sp-explain">
      <h2 id="sp-explain">{title}</h2>
      {explained.data ? (
        <>
          <p className="sp-long">
            <LinkedText text={explained.data.sentence} />
          </p>
          <ul className="sp-checks">
            {explained.data.checks.map((check) => (
              <CheckLine key={check.name} check={check} />
            ))}
          </ul>
        </>
      ) : explained.isError ? (
        <ErrorNotice
          error={explained.error}
          what="The reason cannot be shown"
          onRetry={() => void explained.refetch()}
        />
      ) : (
        <Skeleton lines={4} what="the reason" />
      )}
    </section>
  );
}

function CheckLine({ check }: { check: Explanation["checks"][number] }) {
  const [look, word, Icon] =
    check.ok === null
      ? (["unknown", "Not known", WarningIcon] as const)
      : check.ok
        ? (["good", "Well", CheckIcon] as const)
        : (["bad", "In the way", CrossIcon] as const);
  return (
    <li className={`sp-check-line sp-part-${look}`}>
      <span className="sp-part-state">
        <Icon />
        <span className="sp-hidden">{word}: </span>
      </span>
      <span>
        <strong>{words(check.name)}</strong> <LinkedText text={check.detail} />
        {check.since && (
          <span className="sp-faint">
            {" "}
            Since <Time at={check.since} stop />.
          </span>
        )}
      </span>
    </li>
  );
}
