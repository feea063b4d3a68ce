import { useEffect, useState } from "react";
import { Button } from "../ui/Button";
import { Card } from "./Page";
import { type Person, people, signIn } from "./sandbox";
import type { Session } from "./session";

/** Lets whoever tries the sandbox choose who to be. */
export function SandboxSignIn({ url, onSession }: { url: string; onSession: (session: Session) => void }) {
  const [known, setKnown] = useState<Person[]>([]);
  const [busy, setBusy] = useState<string | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  useEffect(() => {
    people(url).then(setKnown, (error: Error) => setProblem(error.message));
  }, [url]);
  const choose = async (person: string) => {
    setBusy(person);
    setProblem(null);
    try {
      onSession(await signIn(url, person));
    } catch (error) {
      setProblem((error as Error).message);
      setBusy(null);
    }
  };
  return (
    <Card title="Sign in">
      <p>This is the sandbox: nobody needs a password. Choose who to be.</p>
      <div className="page-people">
        {known.map(({ id, name, role }) => (
          <Button
            key={id}
            look={role === "admin" ? "primary" : "plain"}
            busy={busy === id}
            disabled={busy !== null}
            onClick={() => choose(id)}
          >
            Continue as {name}
          </Button>
        ))}
      </div>
      {problem && <p role="alert">{problem}.</p>}
    </Card>
  );
}
