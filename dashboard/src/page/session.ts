import type { GetToken } from "../api/connection";

/** Somebody who is signed in, whoever vouches for that. */
export interface Session {
  name: string;
  getToken: GetToken;
  signOut: () => Promise<void>;
}
