import { type UIEvent, useEffect, useId, useLayoutEffect, useMemo, useRef, useState } from "react";
import { useStore } from "../../api/store";
import type { LogLine } from "../../api/types";
import { JobLog, type LogView } from "../../live/log";
import { usePanel } from "../../panel/context";
import { Button } from "../../ui/Button";
import { count, moment, plural } from "../../ui/words";
import { useZone } from "../../ui/zone";

const LEVELS = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] as const;
type Level = (typeof LEVELS)[number];
const SHOWN_AT_ONCE = 500;
const AT_END_PX = 24;

/** A job's log as it is said: filtered by level and text, followed, or held still to be read. */
export function LogViewer({ jobId }: { jobId: string }) {
  const { connection } = usePanel();
  const log = useMemo(() => new JobLog(connection, jobId), [connection, jobId]);
  useEffect(() => log.start(), [log]);
  const now = useStore(log.view);
  const [held, setHeld] = useState<LogView | null>(null);
  const [level, setLevel] = useState<Level>("DEBUG");
  const [search, setSearch] = useState("");
  const [follow, setFollow] = useState(true);
  const [most, setMost] = useState(SHOWN_AT_ONCE);
  const ids = { level: useId(), search: useId() };
  const view = held ?? now;
  const found = useMemo(() => filtered(view.lines, level, search), [view.lines, level, search]);
  const shown = found.slice(-most);
  const missed = now.lines.length + now.dropped - (view.lines.length + view.dropped);

  return (
    <section className="sp-card" aria-labelledby="sp-log-title">
      <div className="sp-card-head">
        <h2 id="sp-log-title">Log</h2>
        <span className="sp-faint" role="status">
          {stateWords(now)}
        </span>
      </div>
      <div className="sp-log-bar">
        <div className="sp-log-level">
          <label htmlFor={ids.level}>Level</label>
          <select id={ids.level} value={level} onChange={(event) => setLevel(event.target.value as Level)}>
            {LEVELS.map((one) => (
              <option key={one} value={one}>
                {one === "DEBUG"
                  ? "All"
                  : one === "CRITICAL"
                    ? "Critical"
                    : `${one[0]}${one.slice(1).toLowerCase()} and up`}
              </option>
            ))}
          </select>
        </div>
        <div className="sp-log-search">
          <label className="sp-hidden" htmlFor={ids.search}>
            Search the log
          </label>
          <input
            id={ids.search}
            type="search"
            placeholder="Search the log"
            value={search}
            onChange={(event) => setSearch(event.target.value)}
          />
        </div>
        <label className="sp-check">
          <input type="checkbox" checked={follow} onChange={(event) => setFollow(event.target.checked)} />
          <span>Follow</span>
        </label>
        <Button small onClick={() => setHeld(held ? null : now)}>
          {held ? "Go on" : "Pause"}
          {held && missed > 0 && ` (${plural(missed, "new line")})`}
        </Button>
      </div>
      <Lines lines={shown} follow={follow && held === null} onFollow={setFollow} search={search}>
        {view.dropped > 0 && most >= found.length && (
          <p className="sp-faint">The {count(view.dropped)} oldest lines are not kept here; Prefect has them.</p>
        )}
        {found.length > most && (
          <Button small look="quiet" onClick={() => setMost(most + SHOWN_AT_ONCE)}>
            Show {count(Math.min(SHOWN_AT_ONCE, found.length - most))} earlier lines
          </Button>
        )}
        {found.length === 0 && <p className="sp-faint">{emptyWords(view, search !== "" || level !== "DEBUG")}</p>}
      </Lines>
    </section>
  );
}

interface LinesProps {
  lines: readonly LogLine[];
  follow: boolean;
  search: string;
  onFollow: (follow: boolean) => void;
  children: React.ReactNode;
}

function Lines({ lines, follow, search, onFollow, children }: LinesProps) {
  const box = useRef<HTMLDivElement>(null);
  const seen = useRef({ top: 0, height: 0 });
  const newest = lines.at(-1)?.id;
  // biome-ignore lint/correctness/useExhaustiveDependencies: it moves when another line is the newest, or lines are left out
  useLayoutEffect(() => {
    if (!box.current) return;
    if (follow) box.current.scrollTop = box.current.scrollHeight;
    seen.current = { top: box.current.scrollTop, height: box.current.scrollHeight };
  }, [follow, newest, lines.length]);
  // Also a finger stops it by going up, and lets it go on by going down to the end.
  const onScroll = ({ currentTarget }: UIEvent<HTMLDivElement>) => {
    const { scrollTop: top, scrollHeight: height, clientHeight } = currentTarget;
    const before = seen.current;
    seen.current = { top, height };
    // Where the lines are wrapped anew, the browser moves them, not somebody.
    if (height !== before.height) return;
    const isAtEnd = height - top - clientHeight < AT_END_PX;
    if (follow ? top < before.top && !isAtEnd : top > before.top && isAtEnd) onFollow(!follow);
  };
  return (
    <div
      ref={box}
      className="sp-log"
      role="log"
      aria-label="Lines of the log"
      aria-live={follow ? "polite" : "off"}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must be able to
      tabIndex={0}
      onScroll={onScroll}
      onWheel={(event) => event.deltaY < 0 && follow && onFollow(false)}
      onKeyDown={(event) => {
        if (["ArrowUp", "PageUp", "Home"].includes(event.key)) onFollow(false);
        if (event.key === "End") onFollow(true);
      }}
    >
      {children}
      {lines.map((line) => (
        <Line key={line.id} line={line} search={search} />
      ))}
    </div>
  );
}

function Line({ line, search }: { line: LogLine; search: string }) {
  const { zone } = useZone();
  const at = new Date(line.timestamp);
  return (
    <div className={`sp-log-line sp-log-${line.level.toLowerCase()}`}>
      <time dateTime={line.timestamp} title={moment(at, zone === "utc" ? "local" : "utc", "millisecond")}>
        {moment(at, zone, "millisecond").replace(/^.*, /, "")}
      </time>
      <span className="sp-log-name">{line.level}</span>
      <span className="sp-log-text">
        {line.task && <span className="sp-faint">{line.task}: </span>}
        <Marked text={line.message} search={search} />
      </span>
    </div>
  );
}

function Marked({ text, search }: { text: string; search: string }) {
  const at = search === "" ? -1 : text.toLowerCase().indexOf(search.toLowerCase());
  if (at < 0) return text;
  const end = at + search.length;
  return (
    <>
      {text.slice(0, at)}
      <mark>{text.slice(at, end)}</mark>
      {text.slice(end)}
    </>
  );
}

function filtered(lines: readonly LogLine[], level: Level, search: string): readonly LogLine[] {
  if (level === "DEBUG" && search === "") return lines;
  const least = LEVELS.indexOf(level);
  const wanted = search.toLowerCase();
  return lines.filter(
    (line) =>
      LEVELS.indexOf(line.level) >= least &&
      (line.message.toLowerCase().includes(wanted) || (line.task ?? "").toLowerCase().includes(wanted)),
  );
}

function stateWords({ status, reason, lines }: LogView): string {
  const lineCount = plural(lines.length, "line");
  switch (status) {
    case "connecting":
      return "Connecting";
    case "live":
      return `Live, ${lineCount}`;
    case "waiting":
      return reason ?? "Waiting for its run";
    case "unavailable":
      return `${reason ?? "Prefect does not answer"}; it goes on by itself`;
    case "polling":
      return `The stream is broken; asked for every 2 s, ${lineCount}`;
    case "ended":
      return `Complete, ${lineCount}`;
    case "refused":
      return reason ?? "Not available";
  }
}

function emptyWords({ status, lines }: LogView, isFiltered: boolean): string {
  if (lines.length > 0 && isFiltered) return "No line matches.";
  if (status === "ended") return "It has said nothing.";
  return status === "waiting" ? "Lines are shown here as soon as it runs." : "No line yet.";
}
