/** What was answered last to each GET, so that what has not changed costs a 304 and no second body. */

const MOST_KEPT = 200;

interface Kept {
  tag: string;
  body: string;
  headers: [string, string][];
}

export class Tagged {
  readonly #kept = new Map<string, Kept>();
  readonly #fetch: (request: Request) => Promise<Response>;

  constructor(fetch: (request: Request) => Promise<Response>) {
    this.#fetch = fetch;
  }

  fetch = async (request: Request): Promise<Response> => {
    if (request.method !== "GET") return this.#fetch(request);
    const kept = this.#kept.get(request.url);
    const headers = new Headers(request.headers);
    if (kept) headers.set("If-None-Match", kept.tag);
    const response = await this.#fetch(new Request(request, { headers }));
    if (response.status === 304 && kept) {
      // Left unread, a browser reports the request as one that was broken off.
      await response.arrayBuffer();
      return new Response(kept.body, { status: 200, headers: kept.headers });
    }
    const tag = response.headers.get("ETag");
    if (response.status !== 200 || tag === null) return response;
    const body = await response.clone().text();
    this.#kept.delete(request.url);
    this.#kept.set(request.url, { tag, body, headers: [...response.headers] });
    if (this.#kept.size > MOST_KEPT) this.#kept.delete(this.#kept.keys().next().value as string);
    return response;
  };
}
