import { type ReactNode, useId } from "react";

interface FieldProps {
  label: string;
  hint?: ReactNode;
  /** What is wrong with what was given. */
  problem?: string | undefined;
  children: (props: { id: string; "aria-describedby"?: string; "aria-invalid"?: true }) => ReactNode;
}

/** A control with its name, what to know about it, and what is wrong with it. */
export function Field({ label, hint, problem, children }: FieldProps) {
  const id = useId();
  const described = [hint ? `${id}-hint` : "", problem ? `${id}-problem` : ""].filter(Boolean).join(" ");
  return (
    <div className="sp-field">
      <label htmlFor={id}>{label}</label>
      {children({ id, ...(described && { "aria-describedby": described }), ...(problem && { "aria-invalid": true }) })}
      {hint && (
        <span id={`${id}-hint`} className="sp-hint">
          {hint}
        </span>
      )}
      {problem && (
        <span id={`${id}-problem`} className="sp-problem">
          {problem}
        </span>
      )}
    </div>
  );
}
