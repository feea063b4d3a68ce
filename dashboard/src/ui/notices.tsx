import type { ReactNode } from "react";
import { ApiError, Unreachable } from "../api/errors";
import { Button } from "./Button";
import { WarningIcon } from "./icons";
import { LinkedText } from "./LinkedText";

/** What went wrong, what to do about it, and what to quote when asking about it. */
export function ErrorNotice({ error, what, onRetry }: { error: Error; what: string; onRetry?: () => void }) {
  const requestId = error instanceof ApiError ? error.requestId : null;
  return (
    <div className="sp-notice sp-notice-error" role="alert">
      <WarningIcon />
      <div className="sp-notice-text">
        <strong>{what}</strong>
        <p>
          <LinkedText text={`${error.message}.`} />
        </p>
        <p className="sp-faint">{advice(error)}</p>
        {requestId && (
          <p className="sp-faint">
            Request <code>{requestId}</code>
          </p>
        )}
      </div>
      {onRetry && (
        <Button small onClick={onRetry}>
          Try again
        </Button>
      )}
    </div>
  );
}

export function advice(error: Error): string {
  if (error instanceof Unreachable)
    return "The page tries again by itself. Is the network there, and the scheduler up?";
  if (!(error instanceof ApiError)) return "Reload the page; if it stays, tell whoever looks after the scheduler.";
  if (error.status === 503) return "Something it needs is away. It is tried again by itself.";
  if (error.status === 429) return `Too many changes at once: wait ${error.retryAfter ?? 60} s and try again.`;
  if (error.status === 409) return "Somebody, or the scheduler itself, was quicker. What is shown here is up to date.";
  if (error.status === 412) return "Somebody edited it meanwhile. Look at what it is now, then decide again.";
  if (error.status === 404) return "It may have been removed, or the address is wrong.";
  if (error.status >= 500)
    return "Try again; if it stays, quote the request below to whoever looks after the scheduler.";
  return "Correct what it names and try again.";
}

export function Empty({ title, children }: { title: string; children?: ReactNode }) {
  return (
    <div className="sp-empty">
      <strong>{title}</strong>
      {children && <p>{children}</p>}
    </div>
  );
}

/** Keeps the place of what is being asked for, so that nothing jumps when it comes. */
export function Skeleton({ lines = 3, what }: { lines?: number; what: string }) {
  return (
    <div className="sp-skeleton" role="status">
      <span className="sp-hidden">Loading {what}</span>
      {Array.from({ length: lines }, (_, line) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: they are all the same
        <span key={line} className="sp-skeleton-line" />
      ))}
    </div>
  );
}
