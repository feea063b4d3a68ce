/** Numbers and times as people say them. */
import type { Zone } from "./zone";

const numbers = new Intl.NumberFormat("en");
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto", style: "long" });

export const count = (value: number): string => numbers.format(value);

export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** A share as a percentage that never rounds up to all, or down to none; a rate and its failures add up to 100. */
export function percent(share: number | null | undefined): string {
  if (share === null || share === undefined) return "–";
  const hundredths = share * 100;
  if (share === 1 || share === 0) return `${hundredths} %`;
  return `${Math.min(99.9, Math.max(0.1, Math.round(hundredths * 10) / 10))} %`;
}

/** A duration in its two largest units: "45 s", "2 min 5 s", "3 h 10 min", "4 d 2 h". */
export function duration(seconds: number | null | undefined): string {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  if (seconds < 1) return seconds <= 0 ? "0 s" : "under 1 s";
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  const whole = Math.round(seconds);
  const units: [number, string][] = [
    [86_400, "d"],
    [3_600, "h"],
    [60, "min"],
    [1, "s"],
  ];
  const first = units.findIndex(([size]) => whole >= size);
  const [size, unit] = units[first] as [number, string];
  const rest = units[first + 1];
  const left = rest ? Math.floor((whole % size) / rest[0]) : 0;
  return `${Math.floor(whole / size)} ${unit}${rest && left > 0 ? ` ${left} ${rest[1]}` : ""}`;
}

/** How far away a moment is: "in 3 minutes", "2 hours ago". */
export function distance(to: Date, now: number): string {
  const seconds = (to.getTime() - now) / 1000;
  const size = Math.abs(seconds);
  if (size < 45) return seconds > 0 ? "in a moment" : "just now";
  if (size < 45 * 60) return relative.format(Math.round(seconds / 60), "minute");
  if (size < 22 * 3600) return relative.format(Math.round(seconds / 3600), "hour");
  if (size < 26 * 86_400) return relative.format(Math.round(seconds / 86_400), "day");
  return relative.format(Math.round(seconds / (30.4 * 86_400)), "month");
}

type Detail = "minute" | "second" | "millisecond";

const formats = new Map<string, Intl.DateTimeFormat>();

/** A moment by the clocks of a zone: "27 Nov, 14:05:12"; with the year where it is not this one. */
export function moment(at: Date, zone: Zone, detail: Detail = "second", now: number = Date.now()): string {
  const withYear = at.getFullYear() !== new Date(now).getFullYear();
  return `${format(zone, detail, withYear).format(at)}${zone === "utc" ? " UTC" : ""}`;
}

function format(zone: Zone, detail: Detail, withYear: boolean): Intl.DateTimeFormat {
  const key = `${zone} ${detail} ${withYear}`;
  const known = formats.get(key);
  if (known) return known;
  const made = new Intl.DateTimeFormat("en-GB", {
    day: "numeric",
    month: "short",
    ...(withYear && { year: "numeric" }),
    hour: "2-digit",
    minute: "2-digit",
    ...(detail !== "minute" && { second: "2-digit" }),
    ...(detail === "millisecond" && { fractionalSecondDigits: 3 }),
    ...(zone === "utc" && { timeZone: "UTC" }),
  });
  formats.set(key, made);
  return made;
}

/** The name of the viewer's own time zone: "Europe/Berlin". */
export function localZone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone;
}

/** A job type's or a field's name as words: "crawl_pending" is "Crawl pending". */
export function words(name: string): string {
  const spaced = name
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .replace(/[_-]+/g, " ")
    .trim()
    .toLowerCase();
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}

export const shortId = (id: string): string => id.slice(0, 8);
