import { MoonIcon, SunIcon } from "../ui/icons";
import { localZone } from "../ui/words";
import { useZone } from "../ui/zone";
import type { Theme } from "./theme";

/** Shows all times by the viewer's clocks or in UTC. */
export function ZoneSwitch() {
  const { zone, setZone } = useZone();
  const isUtc = zone === "utc";
  return (
    <button
      type="button"
      className="sp-switch"
      title={isUtc ? `Show times in ${localZone()}` : "Show times in UTC"}
      onClick={() => setZone(isUtc ? "local" : "utc")}
    >
      <span className="sp-hidden">Times: </span>
      {isUtc ? "UTC" : "Local"}
    </button>
  );
}

/** Turns what is seen around: from light to dark, whichever of the two the system had chosen. */
export function ThemeSwitch({ theme, onTheme }: { theme: Theme; onTheme: (theme: Theme) => void }) {
  const isDark = theme === "dark" || (theme === "system" && prefersDark());
  return (
    <button
      type="button"
      className="sp-switch"
      aria-pressed={isDark}
      aria-label="Dark colours"
      title={isDark ? "Use light colours" : "Use dark colours"}
      onClick={() => onTheme(isDark ? "light" : "dark")}
    >
      {isDark ? <SunIcon /> : <MoonIcon />}
    </button>
  );
}

function prefersDark(): boolean {
  return window.matchMedia?.("(prefers-color-scheme: dark)").matches ?? false;
}
