import { useQuery } from "@tanstack/react-query";
import { useId, useState } from "react";
import { STATUSES } from "../../api/types";
import { usePanel } from "../../panel/context";
import type { Filters } from "../../panel/filters";
import { Button } from "../../ui/Button";
import { Chips } from "../../ui/Chips";
import { statusWord } from "../../ui/StatusMark";
import { localZone, shortId } from "../../ui/words";
import { TextFilter } from "./TextFilter";
import { TimeFilter } from "./TimeFilter";

const STATUS_OPTIONS = STATUSES.map((value) => ({ value, label: statusWord(value) }));

/** What of the history is shown; all of it is in the address. */
export function HistoryFilters({ filters }: { filters: Filters }) {
  const { queries } = usePanel();
  const types = useQuery(queries.types()).data ?? [];
  const parent = filters.one("parent");
  const [isOpen, setOpen] = useState(false);
  const parts = useId();
  return (
    <section className="sp-card sp-filters" aria-label="Filters">
      {/* Seen only where the filters would fill the screen. */}
      <Button
        small
        className="sp-filter-toggle"
        aria-expanded={isOpen}
        aria-controls={parts}
        onClick={() => setOpen(!isOpen)}
      >
        {isOpen ? "Hide the filters" : filters.any ? "Filters (in use)" : "Filters"}
      </Button>
      <div id={parts} className={`sp-filter-parts${isOpen ? " sp-filter-open" : ""}`}>
        <Chips
          legend="Status"
          options={STATUS_OPTIONS}
          chosen={filters.all("status")}
          onChange={(status) => filters.set({ status })}
        />
        <Chips
          legend="Job type"
          options={types.map(({ jobType, title }) => ({ value: jobType, label: title }))}
          chosen={filters.all("type")}
          onChange={(type) => filters.set({ type })}
        />
        <div className="sp-filter-fields">
          <TimeFilter
            label="From"
            value={filters.one("from")}
            notAfter={filters.one("to")}
            onChange={(from) => filters.set({ from }, { replace: true })}
          />
          <TimeFilter
            label="To"
            value={filters.one("to")}
            notBefore={filters.one("from")}
            onChange={(to) => filters.set({ to }, { replace: true })}
          />
          <TextFilter
            label="Started by"
            kind="who"
            value={filters.one("startedBy") ?? ""}
            placeholder="Id of a user"
            onChange={(startedBy) => filters.set({ startedBy }, { replace: true })}
          />
          <TextFilter
            label="Shards of"
            kind="job"
            value={parent ?? ""}
            placeholder="Id of a job"
            onChange={(id) => filters.set({ parent: id }, { replace: true })}
          />
        </div>
        <div className="sp-filter-end">
          <label className="sp-check">
            <input
              type="checkbox"
              checked={filters.one("archived") === "true"}
              onChange={(event) => filters.set({ archived: event.target.checked ? "true" : null })}
            />
            <span>Archive: jobs that ended more than 90 days ago</span>
          </label>
          <span className="sp-hint">From and to by your clock, {localZone()}</span>
          {filters.any && (
            <Button small look="quiet" onClick={filters.clear}>
              Clear all filters
            </Button>
          )}
          {parent && <span className="sp-hint">Shards of job {shortId(parent)}</span>}
        </div>
      </div>
    </section>
  );
}
