import { useEffect, useState } from "react";
import { useDebounced } from "../../ui/debounced";
import { Field } from "../../ui/Field";

interface TextFilterProps {
  label: string;
  value: string;
  onChange: (value: string) => void;
  kind: keyof typeof KINDS;
  placeholder?: string;
}

const PAUSE_MS = 400;
const KINDS = {
  job: {
    pattern: /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i,
    problem: "It does not hold: it is no whole id of a job.",
  },
  who: { pattern: /^[\x21-\x7e]+$/, problem: "It does not hold: an id has no spaces." },
} as const;

/** A filter that is typed: it holds from a moment after the last key, if the API can take it. */
export function TextFilter({ label, value, onChange, kind, placeholder }: TextFilterProps) {
  const [text, setText] = useState(value);
  const settled = useDebounced(text, PAUSE_MS);
  const { pattern, problem } = KINDS[kind];
  const isUsable = (typed: string) => typed === "" || pattern.test(typed);
  useEffect(() => setText(value), [value]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: what was typed counts, not who asks about it
  useEffect(() => {
    const wanted = settled.trim();
    if (wanted !== value && settled === text && isUsable(wanted)) onChange(wanted);
  }, [settled]);
  return (
    <Field label={label} problem={isUsable(settled.trim()) || isUsable(text.trim()) ? undefined : problem}>
      {(props) => (
        <input
          {...props}
          type="text"
          value={text}
          maxLength={200}
          placeholder={placeholder}
          spellCheck={false}
          autoComplete="off"
          onChange={(event) => setText(event.target.value)}
        />
      )}
    </Field>
  );
}
