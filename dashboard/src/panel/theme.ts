import { useEffect, useState } from "react";

export type Theme = "light" | "dark" | "system";

const KEY = "scheduler-panel-theme";

/** What the person has chosen here, kept in this browser; the system's choice until then. */
export function useOwnTheme(): [Theme, (theme: Theme) => void] {
  const [theme, setTheme] = useState<Theme>(read);
  useEffect(() => {
    try {
      localStorage.setItem(KEY, theme);
    } catch {
      // A browser that keeps nothing forgets the choice, no more.
    }
  }, [theme]);
  return [theme, setTheme];
}

function read(): Theme {
  try {
    const kept = localStorage.getItem(KEY);
    return kept === "light" || kept === "dark" ? kept : "system";
  } catch {
    return "system";
  }
}
