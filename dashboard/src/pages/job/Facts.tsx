import type { ReactNode } from "react";
import { Link } from "wouter";
import { hasEnded, type Job } from "../../api/types";
import { useNow } from "../../ui/now";
import { Time } from "../../ui/Time";
import { ranFor, startedBy } from "../../ui/who";
import { duration, shortId, words } from "../../ui/words";

/** Where a job came from, when it was what, and with which parameters. */
export function Facts({ job }: { job: Job }) {
  const now = useNow(job.status === "running");
  const facts: [string, ReactNode][] = [
    ["Started by", startedBy(job)],
    ["Priority", job.priority ? words(job.priority) : "None"],
    ["Accepted", <Time key="created" at={job.createdAt} stop />],
    [
      "Began",
      job.startedAt ? <Time key="started" at={job.startedAt} stop /> : hasEnded(job.status) ? "Never" : "Not yet",
    ],
    ["Ended", job.completedAt ? <Time key="completed" at={job.completedAt} stop /> : "Not yet"],
    ["Ran for", duration(ranFor(job, now))],
  ];
  if (job.retryOf) facts.push(["Tries again", <JobLink key="retry" id={job.retryOf} />]);
  if (job.parentId) facts.push(["Shard of", <JobLink key="parent" id={job.parentId} />]);
  facts.push([
    "Who did what",
    <Link key="audit" href={`/audit?jobId=${job.id}`}>
      Its audit
    </Link>,
  ]);
  const parameters = Object.entries(job.parameters ?? {});
  return (
    <section className="sp-card" aria-labelledby="sp-facts-title">
      <h2 id="sp-facts-title">Facts</h2>
      <Pairs pairs={facts} />
      <h3>Parameters</h3>
      {parameters.length > 0 ? (
        <Pairs pairs={parameters.map(([name, value]) => [words(name), told(value)])} />
      ) : (
        <p className="sp-faint">It takes none.</p>
      )}
    </section>
  );
}

function Pairs({ pairs }: { pairs: [string, ReactNode][] }) {
  return (
    <dl className="sp-figures sp-figures-one">
      {pairs.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function JobLink({ id }: { id: string }) {
  return (
    <Link href={`/jobs/${id}`}>
      <code>{shortId(id)}</code>
    </Link>
  );
}

function told(value: unknown): ReactNode {
  if (value === null || value === undefined) return <span className="sp-faint">not set</span>;
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value) && value.length > 3) {
    return (
      <details>
        <summary>{value.length} values</summary>
        <code>{value.join(" ")}</code>
      </details>
    );
  }
  return typeof value === "object" ? <code>{JSON.stringify(value)}</code> : String(value);
}
