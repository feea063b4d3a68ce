import type { QueryClient } from "@tanstack/react-query";
import { createContext, useContext } from "react";
import type { Api } from "../api/client";
import type { Connection } from "../api/connection";
import type { Queries } from "../api/queries";
import { useStore } from "../api/store";
import type { JobsLive } from "../live/jobs";
import { type LiveMode, liveMode } from "../live/mode";

/** What every part of a panel stands on; one of each for a mounted panel. */
export interface Panel {
  api: Api;
  connection: Connection;
  queries: Queries;
  cache: QueryClient;
  live: JobsLive;
  /** Base address of Prefect's UI where the host says one; else the shim's own. */
  prefectUiUrl: string | undefined;
  onSignIn: (() => void) | undefined;
  /** Whether the panel keeps its place in the browser's address, and its page's name in the title. */
  ownsAddress: boolean;
  /** How many pages have been opened since the panel was mounted. */
  visits: { count: number };
}

export const PanelContext = createContext<Panel | null>(null);

export function usePanel(): Panel {
  const panel = useContext(PanelContext);
  if (!panel) throw new Error("A part of the scheduler's panel is used outside of SchedulerPanel");
  return panel;
}

export function useLiveMode(): LiveMode {
  const { connection, live } = usePanel();
  return liveMode(useStore(live.state), useStore(connection.reachable));
}

/** How often to ask for something that the stream tells of: seldom while it does, as the shim allows otherwise. */
export function useInterval(pollSeconds: number): number {
  const mode = useLiveMode();
  return (mode === "live" ? Math.max(60, pollSeconds) : pollSeconds) * 1000;
}

// Each as `GET /api/config` says: how often a client that does not follow the streams may ask.
export const POLL = { job: 2, jobs: 5, jobTypes: 15, system: 15 } as const;
