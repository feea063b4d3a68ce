import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { Button } from "../ui/Button";
import { PauseIcon } from "../ui/icons";
import { Time } from "../ui/Time";
import { admin } from "../ui/who";
import { POLL, usePanel } from "./context";
import { PauseDialog } from "./PauseDialog";

/** Says on every page that nothing starts, who wanted that, why, and until when. */
export function PauseBanner() {
  const { queries } = usePanel();
  const [asking, setAsking] = useState(false);
  const said = useQuery({ ...queries.maintenance(), refetchInterval: POLL.system * 1000 }).data;
  if (!said?.paused && !asking) return null;
  return (
    <>
      {said?.paused && (
        <section className="sp-banner" role="status" aria-label="Paused">
          <PauseIcon />
          <div className="sp-banner-text">
            <strong>Everything is paused.</strong> Nothing starts, schedules included; what runs goes on.
            <dl className="sp-facts">
              <div>
                <dt>Why</dt>
                <dd>{said.reason ?? "No reason is kept"}</dd>
              </div>
              <div>
                <dt>Who</dt>
                <dd>{said.setBy ? admin(said.setBy) : "Not known"}</dd>
              </div>
              {said.setAt && (
                <div>
                  <dt>Since</dt>
                  <dd>
                    <Time at={said.setAt} stop />
                  </dd>
                </div>
              )}
              <div>
                <dt>Until</dt>
                <dd>{said.until ? <Time at={said.until} stop /> : "somebody resumes it"}</dd>
              </div>
            </dl>
          </div>
          <Button onClick={() => setAsking(true)}>Resume</Button>
        </section>
      )}
      {asking && <PauseDialog paused={true} onClose={() => setAsking(false)} />}
    </>
  );
}
