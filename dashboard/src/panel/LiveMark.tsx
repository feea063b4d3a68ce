import { useStore } from "../api/store";
import type { LiveMode } from "../live/mode";
import { useNow } from "../ui/now";
import { moment } from "../ui/words";
import { useZone } from "../ui/zone";
import { useLiveMode, usePanel } from "./context";

const WORDS: Record<LiveMode, { word: string; meaning: string }> = {
  live: { word: "Live", meaning: "Changes are shown as they happen." },
  connecting: { word: "Connecting", meaning: "Waiting for the stream of changes." },
  polling: { word: "Polling", meaning: "The stream of changes is broken; the page asks every few seconds instead." },
  offline: { word: "Offline", meaning: "The scheduler cannot be reached." },
};

/** Whether what is shown is up to date, in a word; beside it why not. */
export function LiveMark() {
  const { connection, live } = usePanel();
  const mode = useLiveMode();
  const trouble = useStore(live.trouble);
  const { word, meaning } = WORDS[mode];
  return (
    <>
      <span className={`sp-live sp-live-${mode}`} role="status" title={trouble ?? meaning}>
        <span className="sp-live-dot" aria-hidden="true" />
        {trouble && mode === "live" ? "Database away" : word}
        <span className="sp-hidden">. {trouble ?? meaning}</span>
      </span>
      {mode === "offline" && <Offline heardAt={connection.heardAt} />}
    </>
  );
}

function Offline({ heardAt }: { heardAt: number | null }) {
  const { zone } = useZone();
  useNow();
  return (
    <div className="sp-offline" role="alert">
      <strong>The scheduler cannot be reached.</strong>{" "}
      {heardAt === null ? "Nothing is known yet." : `What is shown is as it was on ${moment(new Date(heardAt), zone)}.`}{" "}
      The page goes on by itself when it is back.
    </div>
  );
}
