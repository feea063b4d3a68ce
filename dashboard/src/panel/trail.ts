/**
 * Which page of a list was left for which older one, by their cursors: a cursor leads only on. The browser's tab keeps
 * it, so that the way back is known also after a reload, and from wherever Back has led.
 */
const KEY = "scheduler-panel-pages";
const MOST = 500;

const trail = new Map<string, string>(read());

/** The cursor of the page before, empty for the newest page; undefined where nobody came that way. */
export function pageBefore(cursor: string): string | undefined {
  return trail.get(cursor);
}

export function rememberPage(cursor: string, before: string): void {
  trail.delete(cursor);
  trail.set(cursor, before);
  const [oldest] = trail.keys();
  if (trail.size > MOST && oldest !== undefined) trail.delete(oldest);
  try {
    sessionStorage.setItem(KEY, JSON.stringify([...trail]));
  } catch {
    // A browser that keeps nothing knows the way until the next reload.
  }
}

function read(): [string, string][] {
  try {
    const kept: unknown = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
    if (!Array.isArray(kept)) return [];
    return kept.filter(
      (one) => Array.isArray(one) && one.length === 2 && one.every((part) => typeof part === "string"),
    );
  } catch {
    return [];
  }
}
