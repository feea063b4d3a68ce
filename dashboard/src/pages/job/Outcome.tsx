import type { Job } from "../../api/types";
import { Figures } from "../../ui/Figures";
import { CrossIcon } from "../../ui/icons";
import { LinkedText } from "../../ui/LinkedText";
import { Time } from "../../ui/Time";
import { admin } from "../../ui/who";
import { count, plural } from "../../ui/words";

/** What came of a job: why it failed, the receipt of its cancel, its counts, and each item that failed. */
export function Outcome({ job }: { job: Job }) {
  return (
    <>
      {job.status === "failed" && (
        <section className="sp-card sp-card-bad" aria-labelledby="sp-error">
          <h2 id="sp-error" className="sp-bad-text sp-with-icon">
            <CrossIcon /> Why it failed
          </h2>
          <p className="sp-long">
            <LinkedText text={job.error ?? "It did not say why."} />
          </p>
        </section>
      )}
      {job.cancel && <Receipt cancel={job.cancel} />}
      {job.status === "cancelled" && !job.cancel && (
        <section className="sp-card" aria-labelledby="sp-skipped">
          <h2 id="sp-skipped">Why it was cancelled</h2>
          <p className="sp-long">
            <LinkedText text={job.error ?? "It did not say why."} />
          </p>
        </section>
      )}
      {job.result && <Result result={job.result} />}
    </>
  );
}

function Receipt({ cancel }: { cancel: NonNullable<Job["cancel"]> }) {
  const facts: [string, React.ReactNode][] = [
    ["Asked for by", cancel.requestedBy ? admin(cancel.requestedBy) : "Somebody in Prefect"],
    ["Asked for", cancel.requestedAt ? <Time key="at" at={cancel.requestedAt} stop /> : "Not known"],
    [
      "Stopped",
      cancel.stoppedAt ? <Time key="stopped" at={cancel.stoppedAt} stop /> : "Not yet: its work is coming to an end",
    ],
    ["Items done until then", cancel.itemsDone === null ? "Not known yet" : count(cancel.itemsDone)],
    [
      "A retry",
      cancel.safeToRetry === null
        ? "Not known yet"
        : cancel.safeToRetry
          ? "repeats nothing that was done"
          : "may repeat something: look at its log first",
    ],
  ];
  return (
    <section className="sp-card" aria-labelledby="sp-receipt">
      <h2 id="sp-receipt">Cancel</h2>
      <dl className="sp-figures">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
    </section>
  );
}

function Result({ result }: { result: NonNullable<Job["result"]> }) {
  const errors = (Array.isArray(result.errors) ? result.errors : []).map(String);
  const details = (result.details ?? {}) as { dryRun?: unknown; errorsTruncated?: unknown };
  const left = typeof details.errorsTruncated === "number" ? details.errorsTruncated : 0;
  return (
    <section className="sp-card" aria-labelledby="sp-result">
      <div className="sp-card-head">
        <h2 id="sp-result">Result</h2>
        {details.dryRun === true && <span className="sp-tag sp-tag-accent">Dry run: nothing was changed</span>}
      </div>
      <Figures result={result} />
      {errors.length > 0 && (
        <details className="sp-details" open={errors.length <= 5}>
          <summary>{plural(errors.length + left, "error")}</summary>
          <ol className="sp-errors">
            {errors.map((error, number) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: two items may have failed in the same words
              <li key={number}>{error}</li>
            ))}
          </ol>
          {left > 0 && <p className="sp-faint">{plural(left, "more error")} of this job were not kept.</p>}
        </details>
      )}
    </section>
  );
}
