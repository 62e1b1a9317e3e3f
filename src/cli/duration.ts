import { CliError } from './context.ts';

const UNIT_MS = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;

/** Milliseconds of `30d`, `12h`, `2w`, `90m`; nothing where the text is no duration. */
function durationMs(text: string): number | undefined {
  const duration = /^(\d{1,6})([mhdw])$/.exec(text);
  const unit = duration?.[2];
  if (unit === 'm' || unit === 'h' || unit === 'd' || unit === 'w') {
    return Number(duration?.[1]) * UNIT_MS[unit];
  }
  return undefined;
}

/**
 * How long something lasts, as people say it: `30d`, `12h`, `2w`, `90m`.
 *
 * @param flag how it was asked for
 * @returns milliseconds
 * @throws CliError
 */
export function parseDuration(text: string, flag: string): number {
  const milliseconds = durationMs(text);
  if (milliseconds !== undefined) return milliseconds;
  throw new CliError(`${flag} ${JSON.stringify(text)} is not allowed; a duration such as 24h, 7d or 90m`, 2);
}

/**
 * When something ends, as people say it: `30d`, `12h`, `2w`, `90m`, or a date or time in ISO 8601.
 *
 * @param now Unix time in milliseconds
 * @returns ISO 8601 with time zone
 * @throws CliError
 */
export function parseExpiry(text: string, now: number): string {
  const duration = durationMs(text);
  if (duration !== undefined) return new Date(now + duration).toISOString();
  const isIso = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})?)?$/.test(text);
  const time = isIso ? Date.parse(text) : NaN;
  if (Number.isNaN(time)) {
    throw new CliError(
      `--expires ${JSON.stringify(text)} is not allowed; a duration such as 30d, 12h or 90m, or a time such as 2027-01-31T00:00:00Z`,
      2,
    );
  }
  return new Date(time).toISOString();
}
