/** A portal that has nothing to do with the scheduler but the panel: what whoever embeds it writes. */
import { StrictMode, useState } from "react";
import { createRoot } from "react-dom/client";
import { SchedulerPanel, type Theme } from "stumbleable-scheduler-dashboard";

declare global {
  interface Window {
    /** The test's own: a session token, or null. */
    portalToken: (skipCache: boolean) => Promise<string | null>;
  }
}

const scheduler = new URLSearchParams(window.location.search).get("scheduler") ?? "";

function Portal() {
  const [theme, setTheme] = useState<Theme>("light");
  const [shown, setShown] = useState(true);
  return (
    <>
      <h1>Portal</h1>
      <button type="button" onClick={() => setTheme(theme === "light" ? "dark" : "light")}>
        Change the portal's theme
      </button>
      <button type="button" onClick={() => setShown(!shown)}>
        {shown ? "Put the panel away" : "Bring the panel back"}
      </button>
      {shown && (
        <SchedulerPanel
          baseUrl={scheduler}
          theme={theme}
          getToken={({ skipCache = false } = {}) => window.portalToken(skipCache)}
        />
      )}
    </>
  );
}

createRoot(document.getElementById("portal") as HTMLElement).render(
  <StrictMode>
    <Portal />
  </StrictMode>,
);
