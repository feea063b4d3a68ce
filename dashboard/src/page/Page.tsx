import { useCallback, useEffect, useState } from "react";
import type { Config } from "../api/types";
import { SchedulerPanel } from "../index";
import { Button } from "../ui/Button";
import * as clerk from "./clerk";
import { readConfig } from "./config";
import { SandboxSignIn } from "./SandboxSignIn";
import * as sandbox from "./sandbox";
import type { Session } from "./session";

type State =
  | { at: "loading" }
  | { at: "failed"; message: string }
  | { at: "signed-out"; config: Config }
  | { at: "signed-in"; config: Config; session: Session; number: number };

// A scheduler that is being replaced is back in seconds.
const AGAIN_MS = 3_000;
let sessions = 0;

/** The page at /admin: finds out how people sign in here and who has, and mounts the panel for them. */
export function Page() {
  const [state, setState] = useState<State>({ at: "loading" });
  const enter = useCallback((config: Config, session: Session | null) => {
    sessions += 1;
    setState(session ? { at: "signed-in", config, session, number: sessions } : { at: "signed-out", config });
  }, []);
  const begin = useCallback(async () => {
    try {
      const config = await readConfig();
      enter(config, await resumed(config));
    } catch (error) {
      setState({ at: "failed", message: error instanceof Error ? error.message : String(error) });
    }
  }, [enter]);
  useEffect(() => void begin(), [begin]);
  useEffect(() => {
    if (state.at !== "failed") return;
    const timer = setTimeout(begin, AGAIN_MS);
    return () => clearTimeout(timer);
  }, [state, begin]);

  switch (state.at) {
    case "loading":
      return <p className="page-note">Loading …</p>;
    case "failed":
      return (
        <Card title="The scheduler cannot be reached">
          <p role="alert">{state.message}. The page tries again by itself.</p>
          <Button onClick={begin}>Try again</Button>
        </Card>
      );
    case "signed-out":
      return <SignIn config={state.config} onSession={(session) => enter(state.config, session)} />;
    case "signed-in": {
      const { config, session, number } = state;
      const leave = async () => {
        await session.signOut();
        enter(config, null);
      };
      return (
        <SchedulerPanel
          key={number}
          baseUrl=""
          basePath="/admin"
          getToken={session.getToken}
          prefectUiUrl={config.prefectUiUrl}
          onSignIn={leave}
          account={
            <>
              <span className="page-name">{session.name}</span>
              <Button small look="quiet" onClick={leave}>
                Sign out
              </Button>
            </>
          }
        />
      );
    }
  }
}

async function resumed(config: Config): Promise<Session | null> {
  if (config.signIn === "sandbox" && config.signInUrl) return sandbox.resume(config.signInUrl);
  if (config.signIn === "clerk" && config.clerkPublishableKey) return clerk.resume(config.clerkPublishableKey);
  return null;
}

function SignIn({ config, onSession }: { config: Config; onSession: (session: Session) => void }) {
  const { signIn, signInUrl, clerkPublishableKey } = config;
  if (signIn === "sandbox" && signInUrl) return <SandboxSignIn url={signInUrl} onSession={onSession} />;
  if (signIn === "clerk" && clerkPublishableKey) {
    return (
      <Card title="Sign in">
        <p>The scheduler is for Stumbleable's admins.</p>
        <Button look="primary" onClick={() => void clerk.signIn(clerkPublishableKey)}>
          Sign in with your Stumbleable account
        </Button>
      </Card>
    );
  }
  return (
    <Card title="Sign-in is not set up">
      <p>
        The scheduler does not know how people sign in here. Set <code>CLERK_PUBLISHABLE_KEY</code> in its
        configuration, and restart it.
      </p>
    </Card>
  );
}

export function Card({ title, children }: { title: string; children: React.ReactNode }) {
  return (
    <div className="sp-panel">
      <main className="sp-access page-card">
        <span className="sp-brand">Scheduler</span>
        <h1>{title}</h1>
        {children}
      </main>
    </div>
  );
}
