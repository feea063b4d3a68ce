import type { ErrorBody } from "./types";

/** An answer of the API that is an error, with what a person needs to ask about it. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly requestId: string | null;
  readonly details: unknown;
  /** Seconds after which the API says to try again. */
  readonly retryAfter: number | null;

  constructor(status: number, body: Partial<ErrorBody>, headers: Headers) {
    super(body.error ?? `The scheduler answered ${status}`);
    this.name = "ApiError";
    this.status = status;
    this.code = body.code ?? `HTTP_${status}`;
    this.requestId = body.requestId ?? headers.get("X-Request-Id");
    this.details = body.details ?? null;
    const after = Number(headers.get("Retry-After"));
    this.retryAfter = headers.has("Retry-After") && Number.isFinite(after) ? after : null;
  }

  /** What is wrong with each field, as the API names it: `parameters.max_items`, `cron`, `reason`. */
  get fields(): Map<string, string> {
    const found = new Map<string, string>();
    if (Array.isArray(this.details)) {
      for (const one of this.details) {
        const { field, message } = (one ?? {}) as Record<string, unknown>;
        if (typeof field === "string" && typeof message === "string" && !found.has(field)) found.set(field, message);
      }
    }
    return found;
  }

  static async of(response: Response): Promise<ApiError> {
    let body: Partial<ErrorBody> = {};
    try {
      const read: unknown = await response.json();
      if (read && typeof read === "object") body = read as Partial<ErrorBody>;
    } catch {
      // A proxy's page, or nothing: the status has to do.
    }
    return new ApiError(response.status, body, response.headers);
  }
}

/** No answer came: the network, or the scheduler, is away. */
export class Unreachable extends Error {
  constructor(cause: unknown) {
    super("The scheduler cannot be reached", { cause });
    this.name = "Unreachable";
  }
}

/** There is nobody to ask as: `getToken` gave no token. */
export class SignedOut extends Error {
  constructor() {
    super("Nobody is signed in");
    this.name = "SignedOut";
  }
}
