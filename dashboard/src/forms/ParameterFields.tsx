import { Field } from "../ui/Field";
import { words } from "../ui/words";
import type { FieldSpec } from "./schema";
import { applies, bounds, type Values } from "./values";

interface ParameterFieldsProps {
  fields: readonly FieldSpec[];
  values: Values;
  problems: ReadonlyMap<string, string>;
  onChange: (values: Values) => void;
}

/** A control for each parameter; those that have no say with what is chosen above are not shown. */
export function ParameterFields({ fields, values, problems, onChange }: ParameterFieldsProps) {
  return fields
    .filter((field) => applies(field, fields, values))
    .map((field) => (
      <Parameter
        key={field.name}
        field={field}
        value={values[field.name] ?? ""}
        problem={problems.get(field.name)}
        onChange={(value) => onChange({ ...values, [field.name]: value })}
      />
    ));
}

interface ParameterProps {
  field: FieldSpec;
  value: string | boolean;
  problem: string | undefined;
  onChange: (value: string | boolean) => void;
}

function Parameter({ field, value, problem, onChange }: ParameterProps) {
  const name = words(field.name);
  if (typeof value === "boolean") {
    return (
      <label className="sp-check">
        <input type="checkbox" name={field.name} checked={value} onChange={(event) => onChange(event.target.checked)} />
        <span>
          <span className="sp-check-name">{name}</span>
          <span className="sp-hint">{field.description}</span>
          {problem && <span className="sp-problem">{problem}</span>}
        </span>
      </label>
    );
  }
  const hint = [field.description, limits(field)].filter(Boolean).join(" ");
  return (
    <Field label={field.required ? `${name} (needed)` : name} hint={hint} problem={problem}>
      {(props) => <Control {...props} field={field} value={value} onChange={onChange} />}
    </Field>
  );
}

interface ControlProps extends Omit<ParameterProps, "problem" | "value"> {
  id: string;
  value: string;
}

function Control({ field, value, onChange, ...props }: ControlProps) {
  const common = { ...props, name: field.name, value };
  const change = (event: { target: { value: string } }) => onChange(event.target.value);
  switch (field.kind) {
    case "choice":
    case "boolean":
      return (
        <select {...common} onChange={change}>
          {field.nullable && <option value="">Not set</option>}
          {(field.choices ?? [true, false]).map((choice) => (
            <option key={JSON.stringify(choice)} value={JSON.stringify(choice)}>
              {typeof choice === "string"
                ? words(choice)
                : typeof choice === "boolean"
                  ? choice
                    ? "Yes"
                    : "No"
                  : String(choice)}
            </option>
          ))}
        </select>
      );
    case "list":
    case "json":
      return <textarea {...common} onChange={change} spellCheck={false} />;
    case "integer":
    case "number":
      return (
        <input
          {...common}
          // A control of type number gives nothing at all for what is no number, and then nobody can say what is wrong.
          type="text"
          inputMode={field.kind === "integer" ? "numeric" : "decimal"}
          placeholder={field.nullable ? "Not set" : undefined}
          autoComplete="off"
          onChange={change}
        />
      );
    case "text":
      return (
        <input
          {...common}
          type="text"
          placeholder={field.nullable ? "Not set" : undefined}
          autoComplete="off"
          spellCheck={false}
          onChange={change}
        />
      );
  }
}

function limits(field: FieldSpec): string {
  if (field.kind === "list") {
    const what = field.itemFormat === "uuid" ? "Ids" : "Entries";
    const most = field.maxLength === undefined ? "" : `, at most ${field.maxLength.toLocaleString("en")}`;
    return `${what}, one a line${most}.`;
  }
  if (field.kind === "json") return "As JSON.";
  const said = bounds(field);
  return said && `${said}.`;
}
