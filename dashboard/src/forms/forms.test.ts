// @vitest-environment node
import { describe, expect, it } from "vitest";
import { fieldsOf } from "./schema";
import { applies, begin, bounds, readAll } from "./values";

// As the deployments carry them.
const CRAWL = {
  type: "object",
  properties: {
    ids: {
      anyOf: [
        {
          type: "array",
          items: { type: "string", format: "uuid" },
          maxItems: 3,
          minItems: 1,
          onlyWith: { mode: "refresh" },
        },
        { type: "null" },
      ],
      default: null,
      position: 3,
    },
    mode: { enum: ["pending", "stale", "refresh"], type: "string", default: "pending", position: 0 },
    max_items: { type: "integer", default: 1000, maximum: 10000, minimum: 1, position: 1 },
    older_than_days: {
      anyOf: [{ type: "integer", maximum: 3650, minimum: 1, onlyWith: { mode: "stale" } }, { type: "null" }],
      default: null,
      position: 2,
    },
  },
};
const ID = "0b6ff1f4-3f0c-4f4b-9a3c-0c8a8a0f5a11";

const fields = fieldsOf(CRAWL);
const read = (values: Record<string, string | boolean>) => readAll(fields, { ...begin(fields), ...values });

describe("the fields of a schema", () => {
  it("come in the order of the flow's parameters, with defaults, bounds and what they go with", () => {
    expect(fields.map((field) => [field.name, field.kind, field.nullable])).toEqual([
      ["mode", "choice", false],
      ["max_items", "integer", false],
      ["older_than_days", "integer", true],
      ["ids", "list", true],
    ]);
    expect(fields[1]).toMatchObject({ fallback: 1000, minimum: 1, maximum: 10000 });
    expect(fields[2]).toMatchObject({ onlyWith: { mode: "stale" }, maximum: 3650 });
    expect(fields[3]).toMatchObject({ onlyWith: { mode: "refresh" }, itemFormat: "uuid", maxLength: 3 });
  });

  it("are found through references, and a field nobody foresaw is JSON", () => {
    const schema = {
      $defs: { Mode: { enum: ["a", "b"], type: "string" }, Thing: { type: "object" } },
      required: ["mode"],
      properties: {
        mode: { $ref: "#/$defs/Mode" },
        thing: { $ref: "#/$defs/Thing" },
        either: { anyOf: [{ type: "integer" }, { type: "string" }] },
        numbers: { type: "array", items: { type: "integer" } },
        over: { type: "number", exclusiveMinimum: 0 },
      },
    };
    expect(fieldsOf(schema).map((field) => [field.name, field.kind, field.required])).toEqual([
      ["mode", "choice", true],
      ["thing", "json", false],
      ["either", "json", false],
      ["numbers", "json", false],
      ["over", "number", false],
    ]);
  });

  it.each([null, undefined, [], {}, { properties: [] }, { properties: { a: null } }])("of %j are none", (schema) => {
    expect(fieldsOf(schema)).toEqual([]);
  });
});

describe("what stands in the controls", () => {
  it("is nothing to send while it is the defaults", () => {
    expect(read({})).toEqual({ parameters: {}, problems: new Map() });
  });

  it("is sent where it differs", () => {
    expect(read({ max_items: " 50 " }).parameters).toEqual({ max_items: 50 });
    expect(read({ mode: '"stale"', older_than_days: "90" }).parameters).toEqual({ mode: "stale", older_than_days: 90 });
    expect(read({ mode: '"refresh"', ids: `${ID}\n${ID}` }).parameters).toEqual({ mode: "refresh", ids: [ID, ID] });
  });

  it.each([
    [{ max_items: "0" }, "max_items", "From 1 to 10,000"],
    [{ max_items: "10001" }, "max_items", "From 1 to 10,000"],
    [{ max_items: "1.5" }, "max_items", "Not a whole number"],
    [{ max_items: "many" }, "max_items", "Not a number"],
    [{ max_items: "" }, "max_items", "Needed"],
    [{ mode: '"stale"' }, "older_than_days", "Needed with mode stale"],
    [{ mode: '"refresh"', ids: "abc" }, "ids", "abc is no id"],
    [{ mode: '"refresh"', ids: `${ID} ${ID} ${ID} ${ID}` }, "ids", "At most 3, and there are 4"],
  ])("%j is refused: %s %s", (values, name, problem) => {
    expect([...read(values as never).problems]).toEqual([[name, problem]]);
  });

  it("that has no say with what is chosen is neither sent nor looked at", () => {
    const values = { ...begin(fields), ids: "abc", older_than_days: "-1" };
    expect(readAll(fields, values)).toEqual({ parameters: {}, problems: new Map() });
    expect(fields.filter((field) => applies(field, fields, values)).map((field) => field.name)).toEqual([
      "mode",
      "max_items",
    ]);
  });

  it("is read by its pattern and its length", () => {
    const week = fieldsOf({
      properties: {
        week: {
          anyOf: [{ type: "string", pattern: "^20\\d\\d-W\\d\\d$", maxLength: 8 }, { type: "null" }],
          default: null,
        },
      },
    });
    const one = (text: string) => readAll(week, { week: text });
    expect(one("2026-W48").parameters).toEqual({ week: "2026-W48" });
    expect(one("last").problems.get("week")).toBe("Not of the form that is asked for");
    expect(one("2026-W48x").problems.get("week")).toBe("At most 8 characters");
    expect(one("").parameters).toEqual({});
  });

  it("can be a switch, one that may be unset, and JSON", () => {
    const others = fieldsOf({
      properties: {
        dry_run: { type: "boolean", default: false },
        maybe: { anyOf: [{ type: "boolean" }, { type: "null" }], default: null },
        thing: { type: "object", default: { a: 1 } },
      },
    });
    const start = begin(others);
    expect(start).toEqual({ dry_run: false, maybe: "", thing: '{"a":1}' });
    expect(readAll(others, start).parameters).toEqual({});
    expect(readAll(others, { dry_run: true, maybe: "false", thing: '{"a": 2}' }).parameters).toEqual({
      dry_run: true,
      maybe: false,
      thing: { a: 2 },
    });
    expect(readAll(others, { ...start, thing: "{" }).problems.get("thing")).toBe("Not JSON");
  });

  it.each([
    [{ minimum: 1 }, "At least 1"],
    [{ maximum: 5 }, "At most 5"],
    [{}, ""],
  ])("has bounds that are said: %j", (some, said) => {
    expect(bounds({ ...(fields[0] as (typeof fields)[0]), ...some })).toBe(said);
  });
});
