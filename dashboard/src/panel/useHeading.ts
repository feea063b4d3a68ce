import { useEffect, useRef } from "react";
import { usePanel } from "./context";

/** Names the page in the browser's title, and moves the focus to its heading when another page is opened. */
export function useHeading(title: string) {
  const { ownsAddress, visits } = usePanel();
  const ref = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    if (ownsAddress) document.title = `${title} · Scheduler`;
  }, [ownsAddress, title]);
  useEffect(() => {
    visits.count += 1;
    // Not for the page that was loaded: the focus is the browser's business then.
    if (visits.count > 1) ref.current?.focus({ preventScroll: true });
  }, [visits]);
  return { ref, tabIndex: -1 };
}
