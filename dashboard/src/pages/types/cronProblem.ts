/** What is plainly wrong with a schedule, in the API's own words (`api/crons.py`), before it is asked about the rest. */

const WORDS = new Set(["@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually"]);
const MONTHS = "jan feb mar apr may jun jul aug sep oct nov dec";
const DAYS = "sun mon tue wed thu fri sat";
const FIELDS = [
  { meaning: "minute (0-59)", least: 0, most: 59, names: "" },
  { meaning: "hour (0-23)", least: 0, most: 23, names: "" },
  { meaning: "day of month (1-31)", least: 1, most: 31, names: "l" },
  { meaning: "month (1-12)", least: 1, most: 12, names: MONTHS },
  { meaning: "day of week (0-7)", least: 0, most: 7, names: `${DAYS} l` },
] as const;
const NUMBERS = /^(?:\*|(\d+)(?:-(\d+))?)(?:\/(\d+))?$/;

/** What is wrong with a cron expression; null where the API decides. */
export function cronProblem(cron: string): string | null {
  const fields = cron.split(/\s+/).filter(Boolean);
  const [first = ""] = fields;
  if (fields.length === 1 && first.startsWith("@")) {
    return WORDS.has(first.toLowerCase())
      ? null
      : "is no cron expression: the only words are @hourly, @daily, @weekly, @monthly and @yearly";
  }
  if (fields.length !== FIELDS.length) {
    return `has ${fields.length} fields, it must have 5: minute, hour, day of month, month, day of week (no seconds)`;
  }
  const wrong = FIELDS.findIndex((field, at) => !(fields[at] ?? "").split(",").every((part) => mayBe(part, field)));
  const field = FIELDS[wrong];
  return field ? `has no valid ${field.meaning}: it is field ${wrong + 1}` : null;
}

function mayBe(part: string, { least, most, names }: (typeof FIELDS)[number]): boolean {
  const letters = part.toLowerCase().match(/[a-z]+/g);
  if (letters) return names === "" || letters.every((name) => names.split(" ").includes(name));
  if (/[^\d*/-]/.test(part)) return true;
  const numbers = NUMBERS.exec(part);
  if (!numbers) return false;
  const [, from, to, step] = numbers;
  // A range may end at zero where its field begins at one: it goes on to the end.
  return (
    (from === undefined || (Number(from) >= least && Number(from) <= most)) &&
    (to === undefined || Number(to) <= most) &&
    step !== "0"
  );
}

/** What is wrong with the name of a time zone; null where the API decides. */
export function zoneProblem(timezone: string): string | null {
  return isZone(timezone) ? null : "is no time zone: give a name of the IANA list, such as UTC or Europe/Berlin";
}

function isZone(timezone: string): boolean {
  // Browsers also take distances from UTC and any letter case, the API does not.
  if (!/^[A-Za-z]/.test(timezone)) return false;
  try {
    const { timeZone } = new Intl.DateTimeFormat("en", { timeZone: timezone }).resolvedOptions();
    return timeZone === timezone || timeZone.toLowerCase() !== timezone.toLowerCase();
  } catch {
    return false;
  }
}
