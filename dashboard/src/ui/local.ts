/** Between the text of a datetime-local control, which is by the viewer's clock, and the API's times in UTC. */

// Without an end, browsers let years of six digits be typed, which dates cannot have.
export const EARLIEST = "2000-01-01T00:00";
export const LATEST = "2099-12-31T23:59";

/** Whether it is a moment of these times, and not the beginning of one: a year that is being typed is 2, 20 and 202. */
export function isLocalMoment(text: string, least = EARLIEST, most = LATEST): boolean {
  return /^\d{4}-\d\d-\d\dT\d\d:\d\d/.test(text) && text >= least && text <= most;
}

export function fromLocalInput(text: string): string {
  return new Date(text).toISOString();
}

export function toLocalInput(iso: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return "";
  const shifted = new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
  return shifted.toISOString().slice(0, 16);
}
