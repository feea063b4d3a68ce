import { useEffect, useRef, useState } from "react";
import { Field } from "../../ui/Field";
import { EARLIEST, fromLocalInput, isLocalMoment, LATEST, toLocalInput } from "../../ui/local";

interface TimeFilterProps {
  label: string;
  value: string | undefined;
  /** The other end of the interval, where there is one. */
  notBefore?: string | undefined;
  notAfter?: string | undefined;
  onChange: (value: string | null) => void;
}

/** A moment by the viewer's clock; the address and the API have it in UTC. It holds once it has been typed whole. */
export function TimeFilter({ label, value, notBefore, notAfter, onChange }: TimeFilterProps) {
  const input = useRef<HTMLInputElement>(null);
  const [isWrong, setWrong] = useState(false);
  const shown = value ? toLocalInput(value) : "";
  const least = (notBefore && toLocalInput(notBefore)) || EARLIEST;
  const most = (notAfter && toLocalInput(notAfter)) || LATEST;
  // Written to only when the address has changed: what is being typed is the control's own, digit by digit.
  useEffect(() => {
    if (input.current && input.current.value !== shown) input.current.value = shown;
    setWrong(false);
  }, [shown]);
  const read = ({ value: text, validity }: HTMLInputElement): string | null | undefined => {
    // A control that is half empty has no value either.
    if (text === "") return validity.badInput ? undefined : null;
    return isLocalMoment(text, least, most) ? fromLocalInput(text) : undefined;
  };
  return (
    <Field label={label} problem={isWrong ? problemWords(least, most) : undefined}>
      {(props) => (
        <input
          {...props}
          ref={input}
          type="datetime-local"
          min={least}
          max={most}
          defaultValue={shown}
          onChange={(event) => {
            const moment = read(event.target);
            if (moment === undefined) return;
            setWrong(false);
            onChange(moment);
          }}
          onBlur={(event) => setWrong(read(event.target) === undefined)}
        />
      )}
    </Field>
  );
}

function problemWords(least: string, most: string): string {
  if (least !== EARLIEST) return "It does not hold: it is before From.";
  if (most !== LATEST) return "It does not hold: it is after To.";
  return `It does not hold: it is not between ${EARLIEST.slice(0, 4)} and ${LATEST.slice(0, 4)}.`;
}
