import cronstrue from "cronstrue";

const WORDS: Record<string, string> = {
  "@hourly": "Every hour",
  "@daily": "At 00:00, every day",
  "@midnight": "At 00:00, every day",
  "@weekly": "At 00:00, only on Sunday",
  "@monthly": "At 00:00, on day 1 of the month",
  "@yearly": "At 00:00, on day 1 of the month, only in January",
  "@annually": "At 00:00, on day 1 of the month, only in January",
};

/** A cron expression in plain words; null for one that has none. Whether it is valid, the API says. */
export function cronWords(cron: string): string | null {
  const known = WORDS[cron.trim().toLowerCase()];
  if (known) return known;
  try {
    const said = cronstrue.toString(cron, { use24HourTimeFormat: true, verbose: false });
    return /^At \d\d:\d\d$/.test(said) ? `${said}, every day` : said;
  } catch {
    return null;
  }
}
