import createClient, { type Client } from "openapi-fetch";
import type { Connection } from "./connection";
import { ApiError } from "./errors";
import { Tagged } from "./etags";
import type { paths } from "./schema";

export type Api = Client<paths>;

export function makeApi(connection: Connection): Api {
  const tagged = new Tagged(connection.fetch);
  return createClient<paths>({
    baseUrl: connection.baseUrl,
    fetch: tagged.fetch,
    // Types and statuses repeat: `type=a&type=b`.
    querySerializer: { array: { style: "form", explode: true } },
  });
}

interface Answered<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** What the API answered; throws ApiError where that is an error. */
export async function answered<T>(asked: Promise<Answered<T>>): Promise<NonNullable<T>> {
  const { data, error, response } = await asked;
  if (data !== undefined && data !== null) return data;
  const body = error && typeof error === "object" ? error : {};
  throw new ApiError(response.status, body, response.headers);
}

/** A key for a change that must not be made twice, however often it has to be sent. */
export function newIdempotencyKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
