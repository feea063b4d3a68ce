/** A scheduler that answers as a test says, behind the browser's own `fetch`. */
import { vi } from "vitest";
import { Connection } from "../api/connection";

export interface Asked {
  method: string;
  path: string;
  headers: Headers;
  body: unknown;
}

type Answer = (asked: Asked) => Response | Promise<Response>;

export class FakeApi {
  readonly asked: Asked[] = [];
  readonly #answers = new Map<string, Answer[]>();

  constructor() {
    vi.stubGlobal("fetch", this.#fetch);
  }

  /** What is answered to `GET /api/jobs` and the like; of several answers each is given once, the last for ever. */
  on(route: string, ...answers: (Answer | object)[]): this {
    this.#answers.set(
      route,
      answers.map((one) => (typeof one === "function" ? (one as Answer) : () => json(one))),
    );
    return this;
  }

  to(route: string): Asked[] {
    return this.asked.filter(({ method, path }) => `${method} ${path.split("?")[0]}` === route);
  }

  #fetch = async (input: Request | string, init?: RequestInit): Promise<Response> => {
    const request: Request = input instanceof Request ? input : new Request(new URL(input, "http://page.test"), init);
    const url = new URL(request.url);
    const text = await request.text();
    const asked: Asked = {
      method: request.method,
      path: url.pathname + url.search,
      headers: request.headers,
      body: text ? JSON.parse(text) : undefined,
    };
    this.asked.push(asked);
    const answers = this.#answers.get(`${asked.method} ${url.pathname}`);
    if (!answers) return failure(404, "NO_SUCH_ROUTE", `No answer for ${asked.method} ${url.pathname}`);
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    return Promise.race([(answer as Answer)(asked), brokenOff(request.signal)]);
  };
}

const brokenOff = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener("abort", () => reject(signal.reason), { once: true });
  });

export function json(body: unknown, headers: Record<string, string> = {}, status = 200): Response {
  return new Response(JSON.stringify(body), {
    status,
    headers: { "Content-Type": "application/json", "X-Request-Id": "request-1", ...headers },
  });
}

export function failure(status: number, code: string, error: string, more: object = {}, headers = {}): Response {
  return json({ error, code, status, requestId: "request-1", ...more }, headers, status);
}

/** The network is away. */
export const noNetwork = (): Response => {
  throw new TypeError("Failed to fetch");
};

/** The scheduler has been frozen: its connections stand, and nothing comes. */
export const noAnswer = (): Promise<Response> => new Promise(() => {});

/** An open stream, and how to say something on it. */
export class FakeStream {
  readonly #encoder = new TextEncoder();
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  isCancelled = false;

  answer = (): Response =>
    new Response(
      new ReadableStream<Uint8Array>({
        start: (controller) => {
          this.#controller = controller;
          this.say("retry: 2000\n\n");
        },
        cancel: () => {
          this.isCancelled = true;
        },
      }),
      { headers: { "Content-Type": "text/event-stream" } },
    );

  say(text: string): void {
    this.#controller?.enqueue(this.#encoder.encode(text));
  }

  event(kind: string, data: unknown, id?: string): void {
    this.say(`event: ${kind}\ndata: ${JSON.stringify(data)}\n${id === undefined ? "" : `id: ${id}\n`}\n`);
  }

  end(): void {
    this.#controller?.close();
  }

  breakOff(): void {
    this.#controller?.error(new TypeError("network error"));
  }
}

export function connected(getToken = vi.fn(async () => "token-1" as string | null)): Connection {
  return new Connection("http://scheduler.test", getToken);
}
