import { useState } from "react";
import { Link } from "wouter";
import type { JobTypeView } from "../../api/types";
import { Button } from "../../ui/Button";
import { PlayIcon } from "../../ui/icons";
import { StatusMark } from "../../ui/StatusMark";
import { Time } from "../../ui/Time";
import { count, duration, percent, words } from "../../ui/words";
import { EnabledSwitch } from "./EnabledSwitch";
import { NextRuns } from "./NextRuns";
import { RunDialog } from "./RunDialog";
import { ScheduleDialog } from "./ScheduleDialog";
import { ScheduleWords } from "./ScheduleWords";

/** One job type: what it does, when, how it has been doing, and what can be done with it. */
export function TypeCard({ type }: { type: JobTypeView }) {
  const [open, setOpen] = useState<"run" | "schedule" | null>(null);
  const close = () => setOpen(null);
  const titleId = `sp-type-${type.jobType}`;
  return (
    <section className="sp-card sp-type" aria-labelledby={titleId}>
      <div className="sp-card-head">
        <h2 id={titleId}>{type.title}</h2>
        {type.category && <span className="sp-tag">{words(type.category)}</span>}
      </div>
      <p className="sp-type-text">
        {type.description ?? "It has not been deployed yet, so nobody can say what it does."}
      </p>

      <div className="sp-type-schedule">
        <div className="sp-type-when">
          <ScheduleWords cron={type.cron} timezone={type.timezone} />
          {type.overridden && <span className="sp-tag sp-tag-accent">Edited</span>}
        </div>
        <EnabledSwitch type={type} />
        <NextRuns type={type} />
      </div>

      <dl className="sp-facts sp-type-facts">
        <div>
          <dt>Last</dt>
          <dd>{type.lastJob ? <Last job={type.lastJob} title={type.title} /> : "Never ran"}</dd>
        </div>
        <div>
          <dt>Median</dt>
          <dd>{duration(type.medianDurationSeconds)}</dd>
        </div>
        <div>
          <dt>Success in 30 days</dt>
          <dd>{percent(type.successRate)}</dd>
        </div>
        {(type.running > 0 || type.queued > 0) && (
          <div>
            <dt>Now</dt>
            <dd>
              <Link href={`/history?type=${type.jobType}&status=running&status=pending`}>
                {count(type.running)} running, {count(type.queued)} waiting
              </Link>
            </dd>
          </div>
        )}
      </dl>

      <div className="sp-actions sp-type-actions">
        <Button look="primary" onClick={() => setOpen("run")} disabled={type.parameterSchema === null}>
          <PlayIcon />
          {type.buttonLabel}
        </Button>
        <Button onClick={() => setOpen("schedule")}>
          Edit schedule
          <span className="sp-hidden"> of {type.title}</span>
        </Button>
      </div>
      {open === "run" && <RunDialog type={type} onClose={close} />}
      {open === "schedule" && <ScheduleDialog type={type} onClose={close} />}
    </section>
  );
}

function Last({ job, title }: { job: NonNullable<JobTypeView["lastJob"]>; title: string }) {
  return (
    <span className="sp-last">
      <Link href={`/jobs/${job.id}`}>
        <StatusMark status={job.status} cancelling={job.cancel !== null} />
        <span className="sp-hidden">, the last job of {title}</span>
      </Link>
      <span className="sp-faint">
        <Time at={job.completedAt ?? job.createdAt} relative />
      </span>
    </span>
  );
}
