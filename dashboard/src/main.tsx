import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Page } from "./page/Page";
import "./page/page.css";

const RELOADED_AT = "scheduler-reloaded-at";
const SELDOM_MS = 60_000;

// A page that was left open over a deploy asks for parts that are gone: the new page has its own. Where the scheduler
// is away altogether there is no page to load either, and the panel waits for it.
window.addEventListener("vite:preloadError", async () => {
  if (Date.now() - Number(sessionStorage.getItem(RELOADED_AT)) < SELDOM_MS) return;
  const answer = await fetch("/health", { cache: "no-store" }).catch(() => null);
  if (!answer?.ok) return;
  sessionStorage.setItem(RELOADED_AT, String(Date.now()));
  window.location.reload();
});

createRoot(document.getElementById("page") as HTMLElement).render(
  <StrictMode>
    <Page />
  </StrictMode>,
);
