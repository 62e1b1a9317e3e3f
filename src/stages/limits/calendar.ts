import { Temporal } from '@js-temporal/polyfill';
import type { CalendarPeriod } from '../../core/limits.ts';

/** Unix ms at which the previous, the present and the next period begin, and the one after. */
export type PeriodStarts = readonly [previous: number, present: number, next: number, afterNext: number];

/** Zones and periods that are remembered: as many as there are in rules, but for mistakes. */
const MOST_REMEMBERED = 1000;
const remembered = new Map<string, PeriodStarts>();

/**
 * The calendar around a moment: days begin with their first instant in the time zone (midnight, or what comes after it
 * where clocks skip it; the earlier one where it occurs twice), weeks on Monday, months on the first.
 *
 * @param timeZone of the IANA database
 * @param now Unix ms
 */
export function periodStarts(period: CalendarPeriod, timeZone: string, now: number): PeriodStarts {
  const key = `${period} ${timeZone}`;
  const known = remembered.get(key);
  if (known !== undefined && now >= known[1] && now < known[2]) return known;
  const starts = computeStarts(period, timeZone, now);
  if (remembered.size >= MOST_REMEMBERED) remembered.clear();
  remembered.set(key, starts);
  return starts;
}

const ONE: Readonly<Record<CalendarPeriod, Temporal.DurationLike>> = {
  day: { days: 1 },
  week: { weeks: 1 },
  month: { months: 1 },
};

function computeStarts(period: CalendarPeriod, timeZone: string, now: number): PeriodStarts {
  const today = Temporal.Instant.fromEpochMilliseconds(now).toZonedDateTimeISO(timeZone).toPlainDate();
  const first = firstDay(today, period);
  const beginOf = (date: Temporal.PlainDate): number => date.toZonedDateTime(timeZone).epochMilliseconds;
  const one = ONE[period];
  const next = first.add(one);
  return [beginOf(first.subtract(one)), beginOf(first), beginOf(next), beginOf(next.add(one))];
}

function firstDay(date: Temporal.PlainDate, period: CalendarPeriod): Temporal.PlainDate {
  if (period === 'day') return date;
  if (period === 'week') return date.subtract({ days: date.dayOfWeek - 1 });
  return date.with({ day: 1 });
}
