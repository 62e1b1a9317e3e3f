/**
 * One decision about a request, as `limen explain` prints it: checkpoint (identify, authorize, limit, cache, circuit,
 * route, settle …), the rule or resource that decided, about whom or what, the outcome in a word (`allowed`, `refused`,
 * `clamped`, `would refuse` …), and the numbers in words (`7 of 10 requests, 1m`). A tuple, because it travels with the
 * request.
 */
export type TraceLine = readonly [
  checkpoint: string,
  rule: string,
  subject: string,
  outcome: string,
  numbers: string,
];

/** Longest name of a caller's making in a line. */
export const LONGEST_TRACED_NAME = 128;
