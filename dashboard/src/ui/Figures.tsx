import type { Job } from "../api/types";
import { count, words } from "./words";

/** What a job counted: its items, and its own details, nested ones with their path. */
export function Figures({ result }: { result: Job["result"] }) {
  const figures = figuresOf(result);
  if (figures.length === 0) return <p className="sp-faint">It counted nothing.</p>;
  return (
    <dl className="sp-figures">
      {figures.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

const LEFT_OUT = new Set(["dryRun", "errorsTruncated"]);

export function figuresOf(result: Job["result"]): [string, string][] {
  if (!result) return [];
  const { itemsProcessed, details } = result as { itemsProcessed?: unknown; details?: unknown };
  const items: [string, string][] =
    typeof itemsProcessed === "number" ? [["Items processed", count(itemsProcessed)]] : [];
  return [...items, ...flattened(details, "")];
}

function flattened(value: unknown, path: string): [string, string][] {
  if (value === null || value === undefined) return [];
  if (Array.isArray(value)) return [[path, value.map(told).join(", ") || "none"]];
  if (typeof value !== "object") return path ? [[path, told(value)]] : [];
  return Object.entries(value)
    .filter(([name]) => !LEFT_OUT.has(name))
    .flatMap(([name, inner]) => flattened(inner, path ? `${path}: ${words(name).toLowerCase()}` : words(name)));
}

function told(value: unknown): string {
  if (typeof value === "number") return count(value);
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}
