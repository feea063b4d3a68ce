import type { Access } from "../api/connection";
import { Button } from "../ui/Button";
import { usePanel } from "./context";
import { useHeading } from "./useHeading";

const WORDS: Record<Exclude<Access, "ok">, { title: string; text: string; action: string }> = {
  "signed-out": {
    title: "You are signed out",
    text: "The scheduler is for Stumbleable's admins. Sign in to see and run its jobs.",
    action: "Sign in",
  },
  expired: {
    title: "Your session has ended",
    text: "The scheduler no longer takes your session. Sign in again; you will come back to this page.",
    action: "Sign in again",
  },
  "not-admin": {
    title: "This page is for admins",
    text: "You are signed in, but your account has no admin role, or no longer has it. Somebody who has it can give it to you.",
    action: "Use another account",
  },
};

/** Says why nothing is shown, and what to do about it. */
export function AccessPage({ access }: { access: Exclude<Access, "ok"> }) {
  const { connection, cache, onSignIn } = usePanel();
  const { title, text, action } = WORDS[access];
  const heading = useHeading(title);
  const again = () => {
    connection.access.set("ok");
    void cache.resetQueries();
  };
  return (
    <section className="sp-access">
      <h1 {...heading}>{title}</h1>
      <p>{text}</p>
      <div className="sp-actions">
        {onSignIn && (
          <Button look="primary" onClick={onSignIn}>
            {action}
          </Button>
        )}
        <Button onClick={again}>Try again</Button>
      </div>
    </section>
  );
}
