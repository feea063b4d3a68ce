// @vitest-environment node
import { describe, expect, it } from "vitest";
import { EventParser } from "./sse";

const bytes = (text: string) => new TextEncoder().encode(text);

describe("events out of bytes", () => {
  it("are found whole, whatever pieces they come in", () => {
    const text = 'retry: 2000\n\nid: 7\nevent: status\ndata: {"a":"ü"}\n\n: heartbeat\nid: 9\n\n';
    const whole = bytes(text);
    for (let size = 1; size <= whole.length; size += 1) {
      const parser = new EventParser(null);
      const found = [];
      for (let at = 0; at < whole.length; at += size) found.push(...parser.push(whole.slice(at, at + size)));
      expect(found).toEqual([{ kind: "status", data: '{"a":"ü"}', lastEventId: "7" }]);
      expect(parser.lastEventId).toBe("9");
      expect(parser.retry).toBe(2000);
    }
  });

  it.each([
    ["\n", "line feeds"],
    ["\r\n", "both"],
    ["\r", "carriage returns"],
  ])("end their lines by %j (%s)", (end) => {
    const text = ["event: log", "data: one", "data: two", "", "data: three", "", ""].join(end);
    const parser = new EventParser(null);
    const found = [...bytes(text)].flatMap((byte) => parser.push(new Uint8Array([byte])));
    expect(found.map(({ kind, data }) => [kind, data])).toEqual([
      ["log", "one\ntwo"],
      ["message", "three"],
    ]);
  });

  it("carry the id on to those that bring none, and an empty id takes it back", () => {
    const parser = new EventParser("3");
    const found = parser.push(bytes("data: a\n\nid: 4\ndata: b\n\ndata: c\n\nid\ndata: d\n\n"));
    expect(found.map((event) => event.lastEventId)).toEqual(["3", "4", "4", null]);
  });

  it("are not told where there is no data, and fields nobody knows are passed over", () => {
    const parser = new EventParser(null);
    expect(parser.push(bytes("event: status\n\nnonsense: 1\nretry: soon\n\n"))).toEqual([]);
    expect(parser.retry).toBeNull();
  });
});
