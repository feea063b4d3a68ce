import type { Config } from "../api/types";

/** What the page must know before anybody has signed in. */
export async function readConfig(): Promise<Config> {
  const response = await fetch("/api/config", { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(`The scheduler answered ${response.status}`);
  return response.json();
}
