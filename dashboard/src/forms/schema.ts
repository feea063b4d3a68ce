/** A job type's parameters as fields of a form, out of the JSON schema its deployment carries. Pure. */

export type FieldKind = "boolean" | "integer" | "number" | "text" | "choice" | "list" | "json";

export interface FieldSpec {
  name: string;
  kind: FieldKind;
  description: string;
  required: boolean;
  /** Whether it may be left without a value. */
  nullable: boolean;
  fallback: unknown;
  minimum?: number | undefined;
  maximum?: number | undefined;
  minLength?: number | undefined;
  maxLength?: number | undefined;
  pattern?: string | undefined;
  choices?: readonly unknown[] | undefined;
  /** Of each entry of a list: `uuid`, or nothing. */
  itemFormat?: string | undefined;
  /** Another parameter and the value it must have for this one to count. */
  onlyWith?: Readonly<Record<string, unknown>> | undefined;
}

type Schema = Record<string, unknown>;

const isObject = (value: unknown): value is Schema =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const isNumber = (value: unknown): value is number => typeof value === "number";
const isText = (value: unknown): value is string => typeof value === "string";

/** The fields in the order in which the flow names its parameters. */
export function fieldsOf(schema: unknown): FieldSpec[] {
  if (!isObject(schema) || !isObject(schema.properties)) return [];
  const required = Array.isArray(schema.required) ? schema.required : [];
  return Object.entries(schema.properties)
    .filter((entry): entry is [string, Schema] => isObject(entry[1]))
    .sort(([, one], [, other]) => order(one) - order(other))
    .map(([name, property]) => fieldOf(name, property, schema, required.includes(name)));
}

const order = (property: Schema): number => (isNumber(property.position) ? property.position : Number.MAX_SAFE_INTEGER);

function fieldOf(name: string, property: Schema, whole: Schema, required: boolean): FieldSpec {
  const outer = resolved(property, whole);
  const variants = (Array.isArray(outer.anyOf) ? outer.anyOf : []).filter(isObject).map((one) => resolved(one, whole));
  const values = variants.filter((one) => one.type !== "null");
  const inner: Schema = values.length === 1 ? { ...outer, ...values[0] } : outer;
  const items = isObject(inner.items) ? resolved(inner.items, whole) : null;
  const choices = Array.isArray(inner.enum) ? inner.enum : "const" in inner ? [inner.const] : undefined;
  const isList = inner.type === "array";
  return {
    name,
    kind: values.length > 1 ? "json" : kindOf(inner, items, choices),
    description: isText(property.description) ? property.description : "",
    required,
    nullable: variants.length > values.length || inner.type === "null",
    fallback: property.default,
    minimum: isNumber(inner.minimum) ? inner.minimum : above(inner.exclusiveMinimum, 1),
    maximum: isNumber(inner.maximum) ? inner.maximum : above(inner.exclusiveMaximum, -1),
    minLength: number(isList ? inner.minItems : inner.minLength),
    maxLength: number(isList ? inner.maxItems : inner.maxLength),
    pattern: isText(inner.pattern) ? inner.pattern : undefined,
    choices,
    itemFormat: items && isText(items.format) ? items.format : undefined,
    onlyWith: isObject(inner.onlyWith) ? inner.onlyWith : undefined,
  };
}

const number = (value: unknown): number | undefined => (isNumber(value) ? value : undefined);
const above = (value: unknown, step: number): number | undefined => (isNumber(value) ? value + step : undefined);

function kindOf(schema: Schema, items: Schema | null, choices: readonly unknown[] | undefined): FieldKind {
  if (choices) return "choice";
  if (schema.type === "boolean" || schema.type === "integer" || schema.type === "number") return schema.type;
  if (schema.type === "string") return "text";
  if (schema.type === "array" && items?.type === "string") return "list";
  return "json";
}

function resolved(schema: Schema, whole: Schema): Schema {
  if (!isText(schema.$ref)) return schema;
  let found: unknown = whole;
  for (const part of schema.$ref.replace(/^#\//, "").split("/")) found = isObject(found) ? found[part] : undefined;
  const { $ref: _, ...beside } = schema;
  return isObject(found) ? { ...found, ...beside } : beside;
}
