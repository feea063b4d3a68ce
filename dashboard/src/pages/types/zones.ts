/** The time zones that this browser knows, for suggestions; the API decides. */
export const TIME_ZONES: readonly string[] = [
  "UTC",
  ...("supportedValuesOf" in Intl ? Intl.supportedValuesOf("timeZone").filter((zone) => zone !== "UTC") : []),
];
