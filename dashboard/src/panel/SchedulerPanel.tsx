import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { type ReactNode, useEffect, useMemo, useState } from "react";
import { Router } from "wouter";
import { memoryLocation } from "wouter/memory-location";
import { makeApi } from "../api/client";
import { Connection, type GetToken } from "../api/connection";
import { ApiError, SignedOut } from "../api/errors";
import { makeQueries } from "../api/queries";
import { JobsLive } from "../live/jobs";
import { ZoneProvider } from "../ui/zone";
import { Boundary } from "./Boundary";
import { type Panel, PanelContext } from "./context";
import { Layout } from "./Layout";
import { type Theme, useOwnTheme } from "./theme";
import "../styles/index.css";

export interface SchedulerPanelProps {
  /** Origin of the scheduler, such as `https://scheduler.example.com`; empty: the page's own. */
  baseUrl: string;
  /** A session token of an admin, or null where nobody is signed in. Clerk's `getToken` fits as it is. */
  getToken: GetToken;
  /** `light` or `dark` follows the host; without it the panel has a switch of its own and begins as the system does. */
  theme?: Theme;
  /** Base address of Prefect's UI; without it links lead where the scheduler says. */
  prefectUiUrl?: string;
  /** Path under which the panel may keep its place in the address; without it the address is left alone. */
  basePath?: string;
  /** Called when somebody who is signed out, or whose session has ended, wants to sign in. */
  onSignIn?: () => void;
  /** Shown at the end of the panel's bar: who is signed in, a way to sign out. */
  account?: ReactNode;
}

/** The scheduler's dashboard, whole. It styles nothing outside of itself, and keeps nothing when it is unmounted. */
export function SchedulerPanel(props: SchedulerPanelProps) {
  const { baseUrl, getToken, theme, basePath, account, onSignIn, prefectUiUrl } = props;
  const [ownTheme, setOwnTheme] = useOwnTheme();
  // biome-ignore lint/correctness/useExhaustiveDependencies: another function for tokens is no other session
  const parts = useMemo(() => build(baseUrl, getToken), [baseUrl]);
  parts.connection.follow(getToken);
  useEffect(() => parts.live.start(), [parts]);
  const [memory] = useState(() => memoryLocation({ path: "/" }));
  const [visits] = useState({ count: 0 });
  const panel: Panel = { ...parts, prefectUiUrl, onSignIn, ownsAddress: basePath !== undefined, visits };
  const routing =
    basePath === undefined
      ? { hook: memory.hook, searchHook: memory.searchHook, hrefs: (path: string) => ownPage(parts.connection, path) }
      : { base: basePath };
  return (
    <div className="sp-panel" data-theme={theme ?? ownTheme}>
      <PanelContext value={panel}>
        <QueryClientProvider client={parts.cache}>
          <ZoneProvider>
            <Router {...routing}>
              <Boundary what="The panel cannot be shown">
                <Layout account={account} theme={ownTheme} {...(theme === undefined && { onTheme: setOwnTheme })} />
              </Boundary>
            </Router>
          </ZoneProvider>
        </QueryClientProvider>
      </PanelContext>
    </div>
  );
}

// A link that is opened in another tab leads to the scheduler's own page: the host's has no address for it.
function ownPage(connection: Connection, path: string): string {
  return `${connection.baseUrl}/admin${path === "/" ? "" : path}`;
}

function build(baseUrl: string, getToken: GetToken) {
  const connection = new Connection(baseUrl, getToken);
  const api = makeApi(connection);
  const cache = new QueryClient({
    defaultOptions: {
      queries: {
        // Whether there is a network is found out by asking: browsers say "online" on any cable.
        networkMode: "always",
        retry: (failures, error) => failures < 2 && isPassing(error),
        retryDelay: (failures, error) => Math.max(retryAfter(error), 1000 * 2 ** failures),
        staleTime: 1000,
      },
      mutations: { networkMode: "always", retry: false },
    },
  });
  return { connection, api, cache, queries: makeQueries(api), live: new JobsLive(connection, cache) };
}

function isPassing(error: Error): boolean {
  if (error instanceof SignedOut) return false;
  return !(error instanceof ApiError) || error.status >= 500;
}

function retryAfter(error: Error): number {
  return error instanceof ApiError && error.retryAfter ? Math.min(error.retryAfter, 10) * 1000 : 0;
}
