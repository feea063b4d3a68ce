import { useNow } from "./now";
import { distance, localZone, moment } from "./words";
import { useZone } from "./zone";

interface TimeProps {
  at: string;
  detail?: "minute" | "second";
  /** As "3 minutes ago" instead of by the clock. */
  relative?: boolean;
  /** Whether the keyboard stops here to show the other zone. In tables it does not: the switch of zones is for that. */
  stop?: boolean;
}

/** A moment in the viewer's zone, or in UTC where that is chosen, with the other beside it on hover and focus. */
export function Time({ at, detail = "second", relative = false, stop = false }: TimeProps) {
  const { zone } = useZone();
  const now = useNow(relative);
  const date = new Date(at);
  const shown = relative ? distance(date, now) : moment(date, zone, detail);
  const other = [
    ...(relative ? [moment(date, zone)] : []),
    zone === "utc" ? `${moment(date, "local")} ${localZone()}` : moment(date, "utc"),
  ].join(" · ");
  return (
    <time className="sp-time" dateTime={at} {...(stop && { tabIndex: 0 })}>
      {shown}
      <span className="sp-hidden"> ({other})</span>
      <span className="sp-tip" aria-hidden="true">
        {other}
      </span>
    </time>
  );
}
