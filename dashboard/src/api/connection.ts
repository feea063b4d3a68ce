import { ApiError, SignedOut, Unreachable } from "./errors";
import { Store } from "./store";

/** A session token for the API, or null where nobody is signed in. The form of Clerk's own `getToken`. */
export type GetToken = (options?: { skipCache?: boolean }) => Promise<string | null>;

/** A scheduler that says nothing for so long is as good as away, whatever its machine does with the connection. */
export const PATIENCE_MS = 20_000;

export interface SendOptions {
  skipCache?: boolean;
  /** Where no answer comes, nothing is said of the scheduler: a proxy that cuts streams may answer all else. */
  quiet?: boolean;
}

export type Access = "ok" | "signed-out" | "expired" | "not-admin";

/**
 * Every request of the panel goes through here: it carries a token, renews it once where it is refused, and notes
 * whether there is a session, and whether there is a network.
 */
export class Connection {
  readonly access = new Store<Access>("ok");
  readonly reachable = new Store(true);
  /** When the scheduler last said anything, in milliseconds. */
  heardAt: number | null = null;
  readonly baseUrl: string;
  #getToken: GetToken;
  #hadToken = false;
  #refusals = 0;

  constructor(baseUrl: string, getToken: GetToken) {
    this.baseUrl = new URL(baseUrl, globalThis.location.origin).href.replace(/\/+$/, "");
    this.#getToken = getToken;
  }

  /** A host may give another function at every rendering; the session stays. */
  follow(getToken: GetToken): void {
    this.#getToken = getToken;
  }

  /** The answer to a request, whatever its status. Throws SignedOut or Unreachable where there is none. */
  fetch = async (request: Request, options: SendOptions = {}): Promise<Response> => {
    const again = request.clone();
    const refusals = this.#refusals;
    let response = await this.#send(request, options);
    if (response.status === 401) response = await this.#send(again, { ...options, skipCache: true });
    if (response.status === 401) this.#refuse("expired");
    else if (response.status === 403) await this.#noteRefusal(response);
    // What was asked before a refusal and is answered after it says nothing about now.
    else if ((response.ok || response.status === 304) && refusals === this.#refusals) this.access.set("ok");
    return response;
  };

  /** The answer to a GET of a path of the API; throws ApiError where it is an error. */
  get = async (path: string, init: RequestInit & SendOptions = {}): Promise<Response> => {
    const { skipCache = false, quiet = false, ...rest } = init;
    const response = await this.fetch(new Request(`${this.baseUrl}${path}`, rest), { skipCache, quiet });
    if (!response.ok) throw await ApiError.of(response);
    return response;
  };

  async #send(request: Request, { skipCache = false, quiet = false }: SendOptions): Promise<Response> {
    const token = await this.#token(skipCache, quiet);
    if (request.signal.aborted) throw request.signal.reason;
    const headers = new Headers(request.headers);
    headers.set("Authorization", `Bearer ${token}`);
    // Until the answer begins; a stream's body lasts.
    const late = new AbortController();
    const timer = setTimeout(() => late.abort(new DOMException("No answer in time", "TimeoutError")), PATIENCE_MS);
    const signal = AbortSignal.any([request.signal, late.signal]);
    let response: Response;
    try {
      response = await globalThis.fetch(new Request(request, { headers, credentials: "omit", signal }));
    } catch (error) {
      if (request.signal.aborted) throw error;
      if (!quiet) this.lost();
      throw new Unreachable(error);
    } finally {
      clearTimeout(timer);
    }
    this.heard();
    return response;
  }

  async #token(skipCache: boolean, quiet: boolean): Promise<string> {
    let token: string | null;
    try {
      token = await this.#getToken(skipCache ? { skipCache } : {});
    } catch (error) {
      // Whoever issues tokens is away: that is no end of a session.
      if (!quiet) this.lost();
      throw new Unreachable(error);
    }
    if (token !== null) {
      this.#hadToken = true;
      return token;
    }
    this.#refuse(this.#hadToken ? "expired" : "signed-out");
    throw new SignedOut();
  }

  async #noteRefusal(response: Response): Promise<void> {
    const error = await ApiError.of(response.clone());
    if (error.code === "ADMIN_REQUIRED") this.#refuse("not-admin");
  }

  #refuse(access: Access): void {
    this.#refusals += 1;
    this.access.set(access);
  }

  heard(): void {
    this.heardAt = Date.now();
    this.reachable.set(true);
  }

  lost(): void {
    this.reachable.set(false);
  }
}
