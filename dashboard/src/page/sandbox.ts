/** The sandbox's sign-in: people to choose from, and a session that gives short tokens as Clerk's do. */
import type { Session } from "./session";

export interface Person {
  id: string;
  name: string;
  role: string;
}

interface Token {
  token: string;
  expiresAt: string;
  person: { id: string; name: string };
}

const KEY = "scheduler-sandbox-session";
// Renewed when a quarter of its time is left, so that no request goes out with one that ends on its way.
const RENEWED_AT = 0.75;

export async function people(url: string): Promise<Person[]> {
  return (await call(`${url}/people`)).json();
}

export async function signIn(url: string, person: string): Promise<Session> {
  const response = await call(`${url}/sessions`, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ person }),
  });
  const made: Token & { session: string } = await response.json();
  sessionStorage.setItem(KEY, made.session);
  return follow(url, made.session, made);
}

/** The session of this tab, null where there is none or it has ended. */
export async function resume(url: string): Promise<Session | null> {
  const session = sessionStorage.getItem(KEY);
  if (session === null) return null;
  const token = await renew(url, session);
  if (token === null) {
    sessionStorage.removeItem(KEY);
    return null;
  }
  return follow(url, session, token);
}

function follow(url: string, session: string, first: Token): Session {
  let { token, freshUntil } = kept(first);
  let renewing: Promise<string | null> | null = null;

  async function fresh(): Promise<string | null> {
    const next = await renew(url, session);
    if (next === null) return null;
    ({ token, freshUntil } = kept(next));
    return token;
  }

  return {
    name: first.person.name,
    getToken: async ({ skipCache = false } = {}) => {
      if (!skipCache && Date.now() < freshUntil) return token;
      // Whoever asks meanwhile waits for the same one.
      renewing ??= fresh().finally(() => {
        renewing = null;
      });
      return renewing;
    },
    signOut: async () => {
      sessionStorage.removeItem(KEY);
      await fetch(`${url}/sessions/${session}`, { method: "DELETE" }).catch(() => {});
    },
  };
}

function kept({ token, expiresAt }: Token): { token: string; freshUntil: number } {
  const life = new Date(expiresAt).getTime() - Date.now();
  return { token, freshUntil: Date.now() + life * RENEWED_AT };
}

/** The session's next token, null where the session has ended. Throws where nobody answers. */
async function renew(url: string, session: string): Promise<Token | null> {
  const response = await fetch(`${url}/sessions/${session}/token`, { method: "POST" });
  if (response.status === 401) return null;
  if (!response.ok) throw new Error(`The sandbox's sign-in answered ${response.status}`);
  return response.json();
}

async function call(url: string, init?: RequestInit): Promise<Response> {
  const response = await fetch(url, init);
  if (!response.ok) throw new Error(`The sandbox's sign-in answered ${response.status}`);
  return response;
}
