interface ChipsProps<T extends string> {
  legend: string;
  options: readonly { value: T; label: string }[];
  chosen: readonly string[];
  onChange: (chosen: T[]) => void;
}

/** Several of a few: checkboxes that look like what they choose. */
export function Chips<T extends string>({ legend, options, chosen, onChange }: ChipsProps<T>) {
  return (
    <fieldset className="sp-chips">
      <legend>{legend}</legend>
      {options.map(({ value, label }) => (
        <label key={value} className="sp-chip">
          <input
            type="checkbox"
            checked={chosen.includes(value)}
            onChange={(event) =>
              onChange(
                options
                  .map((option) => option.value)
                  .filter((one) => (one === value ? event.target.checked : chosen.includes(one))),
              )
            }
          />
          <span>{label}</span>
        </label>
      ))}
    </fieldset>
  );
}
