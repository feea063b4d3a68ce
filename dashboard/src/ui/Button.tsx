import type { ButtonHTMLAttributes } from "react";
import { SpinnerIcon } from "./icons";

interface ButtonProps extends ButtonHTMLAttributes<HTMLButtonElement> {
  look?: "plain" | "primary" | "danger" | "quiet";
  small?: boolean;
  /** It was pressed and the answer has not come. */
  busy?: boolean;
}

export function Button({ look = "plain", small = false, busy = false, className, children, ...rest }: ButtonProps) {
  const disabled = rest.disabled || busy;
  return (
    <button
      type="button"
      {...rest}
      disabled={disabled}
      aria-busy={busy || undefined}
      className={`sp-button sp-button-${look}${small ? " sp-button-small" : ""} ${className ?? ""}`}
    >
      {busy && <SpinnerIcon />}
      {children}
    </button>
  );
}
