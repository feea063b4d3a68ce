/** What stands in a form's controls, and the parameters it makes. Pure. */
import type { FieldSpec } from "./schema";

export type Values = Readonly<Record<string, string | boolean>>;

export interface Read {
  /** Only what differs from the defaults: the audit then shows what somebody wanted. */
  parameters: Record<string, unknown>;
  problems: ReadonlyMap<string, string>;
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** The controls as they begin: at the defaults. */
export function begin(fields: readonly FieldSpec[]): Values {
  return Object.fromEntries(fields.map((field) => [field.name, shown(field, field.fallback)]));
}

function shown(field: FieldSpec, value: unknown): string | boolean {
  if (field.kind === "boolean") return field.nullable ? String(value ?? "") : value === true;
  if (value === undefined || value === null) return "";
  if (field.kind === "list" && Array.isArray(value)) return value.join("\n");
  if (field.kind === "choice" || field.kind === "json") return JSON.stringify(value);
  return String(value);
}

/** Whether a field has a say, by what the fields it depends on hold. */
export function applies(field: FieldSpec, fields: readonly FieldSpec[], values: Values): boolean {
  return Object.entries(field.onlyWith ?? {}).every(([name, wanted]) => {
    const other = fields.find((one) => one.name === name);
    return other !== undefined && same(read(other, values[name] ?? "").value, wanted);
  });
}

export function readAll(fields: readonly FieldSpec[], values: Values): Read {
  const parameters: Record<string, unknown> = {};
  const problems = new Map<string, string>();
  for (const field of fields) {
    if (!applies(field, fields, values)) continue;
    const { value, problem } = read(field, values[field.name] ?? "");
    const isMissing = value === undefined || value === null;
    if (problem) problems.set(field.name, problem);
    else if (isMissing && field.onlyWith) problems.set(field.name, `Needed with ${said(field.onlyWith)}`);
    else if (isMissing && (field.required || !field.nullable)) problems.set(field.name, "Needed");
    else if (!isMissing || !same(value ?? null, field.fallback ?? null)) {
      if (!same(value, field.fallback)) parameters[field.name] = value ?? null;
    }
  }
  return { parameters, problems };
}

interface One {
  value?: unknown;
  problem?: string;
}

function read(field: FieldSpec, given: string | boolean): One {
  if (typeof given === "boolean") return { value: given };
  const text = field.kind === "text" ? given : given.trim();
  if (text === "") return { value: field.kind === "text" && !field.nullable && !field.required ? "" : null };
  switch (field.kind) {
    case "boolean":
      return { value: text === "true" };
    case "integer":
    case "number":
      return readNumber(field, text);
    case "list":
      return readList(field, text);
    case "choice":
    case "json":
      return readJson(text);
    case "text":
      return readText(field, text);
  }
}

function readNumber(field: FieldSpec, text: string): One {
  const value = Number(text);
  if (!Number.isFinite(value)) return { problem: "Not a number" };
  if (field.kind === "integer" && !Number.isSafeInteger(value)) return { problem: "Not a whole number" };
  const { minimum, maximum } = field;
  if ((minimum !== undefined && value < minimum) || (maximum !== undefined && value > maximum)) {
    return { problem: bounds(field) };
  }
  return { value };
}

/** The bounds of a number, as a sentence without an end; empty where there are none. */
export function bounds({ minimum, maximum }: FieldSpec): string {
  const figure = (value: number) => value.toLocaleString("en");
  if (minimum !== undefined && maximum !== undefined) return `From ${figure(minimum)} to ${figure(maximum)}`;
  if (minimum !== undefined) return `At least ${figure(minimum)}`;
  return maximum === undefined ? "" : `At most ${figure(maximum)}`;
}

function readText(field: FieldSpec, text: string): One {
  if (field.minLength !== undefined && text.length < field.minLength) {
    return { problem: `At least ${field.minLength} characters` };
  }
  if (field.maxLength !== undefined && text.length > field.maxLength) {
    return { problem: `At most ${field.maxLength} characters` };
  }
  if (field.pattern !== undefined && !matches(field.pattern, text))
    return { problem: "Not of the form that is asked for" };
  return { value: text };
}

function matches(pattern: string, text: string): boolean {
  try {
    return new RegExp(pattern, "u").test(text);
  } catch {
    return true; // a pattern of Python's that is none here: the API decides
  }
}

function readList(field: FieldSpec, text: string): One {
  const entries = text.split(/[\s,;]+/).filter(Boolean);
  const wrong = field.itemFormat === "uuid" ? entries.find((entry) => !UUID.test(entry)) : undefined;
  if (wrong !== undefined) return { problem: `${wrong.slice(0, 60)} is no id` };
  if (field.minLength !== undefined && entries.length < field.minLength)
    return { problem: `At least ${field.minLength}` };
  if (field.maxLength !== undefined && entries.length > field.maxLength) {
    return {
      problem: `At most ${field.maxLength.toLocaleString("en")}, and there are ${entries.length.toLocaleString("en")}`,
    };
  }
  return { value: entries };
}

function readJson(text: string): One {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return { problem: "Not JSON" };
  }
}

function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other);
}

function said(onlyWith: Readonly<Record<string, unknown>>): string {
  return Object.entries(onlyWith)
    .map(([name, value]) => `${name} ${String(value)}`)
    .join(" and ");
}
