/** Server-sent events out of the bytes of an answer, by the HTML standard's rules. */

export interface ServerEvent {
  kind: string;
  data: string;
  /** The id to resume after, as it stood when the event came. */
  lastEventId: string | null;
}

export class EventParser {
  lastEventId: string | null;
  /** Milliseconds the server asks to wait before opening the stream again. */
  retry: number | null = null;
  #text = "";
  #sawReturn = false;
  #data: string[] = [];
  #kind = "";
  #id: string | null;
  readonly #decoder = new TextDecoder();

  constructor(lastEventId: string | null) {
    this.lastEventId = lastEventId;
    this.#id = lastEventId;
  }

  /** The events that these bytes complete. What they only begin is kept for the next ones. */
  push(bytes: Uint8Array): ServerEvent[] {
    const found: ServerEvent[] = [];
    for (const line of this.#lines(this.#decoder.decode(bytes, { stream: true }))) {
      if (line === "") {
        const event = this.#dispatch();
        if (event) found.push(event);
      } else this.#field(line);
    }
    return found;
  }

  *#lines(text: string): Generator<string> {
    // A carriage return that ended the last piece has ended its line; a line feed that follows belongs to it.
    this.#text += this.#sawReturn && text.startsWith("\n") ? text.slice(1) : text;
    if (text !== "") this.#sawReturn = text.endsWith("\r");
    const parts = this.#text.split(/\r\n|\n|\r/);
    this.#text = parts.pop() ?? "";
    yield* parts;
  }

  #field(line: string): void {
    const colon = line.indexOf(":");
    if (colon === 0) return;
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "data") this.#data.push(value);
    else if (name === "event") this.#kind = value;
    else if (name === "id" && !value.includes("\0")) this.#id = value;
    else if (name === "retry" && /^\d+$/.test(value)) this.retry = Number(value);
  }

  #dispatch(): ServerEvent | null {
    // An id counts also where nothing is told beside it: a heartbeat says how far the stream has come.
    this.lastEventId = this.#id === "" ? null : this.#id;
    const [data, kind] = [this.#data, this.#kind || "message"];
    this.#data = [];
    this.#kind = "";
    return data.length > 0 ? { kind, data: data.join("\n"), lastEventId: this.lastEventId } : null;
  }
}
