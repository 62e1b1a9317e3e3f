import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { CalendarPeriod } from '../../core/limits.ts';
import { periodStarts } from './calendar.ts';

const HOUR = 3_600_000;

function at(text: string): number {
  return Date.parse(text);
}

function texts(period: CalendarPeriod, timeZone: string, now: string): readonly string[] {
  return periodStarts(period, timeZone, at(now)).map((start) => new Date(start).toISOString());
}

describe('calendar periods', () => {
  it.each<[CalendarPeriod, string, string, readonly string[]]>([
    [
      'day',
      'UTC',
      '2026-11-21T16:00:00Z',
      [
        '2026-11-20T00:00:00.000Z',
        '2026-11-21T00:00:00.000Z',
        '2026-11-22T00:00:00.000Z',
        '2026-11-23T00:00:00.000Z',
      ],
    ],
    // A Sunday belongs to the week that began on the Monday before.
    [
      'week',
      'UTC',
      '2026-11-22T23:59:59Z',
      [
        '2026-11-09T00:00:00.000Z',
        '2026-11-16T00:00:00.000Z',
        '2026-11-23T00:00:00.000Z',
        '2026-11-30T00:00:00.000Z',
      ],
    ],
    // The night to the first of the month comes nine hours earlier in Tokyo.
    [
      'month',
      'Asia/Tokyo',
      '2026-01-31T15:00:00Z',
      [
        '2025-12-31T15:00:00.000Z',
        '2026-01-31T15:00:00.000Z',
        '2026-02-28T15:00:00.000Z',
        '2026-03-31T15:00:00.000Z',
      ],
    ],
    // Clocks go forward on 29 March 2026: that day has 23 hours.
    [
      'day',
      'Europe/Zurich',
      '2026-03-29T12:00:00Z',
      [
        '2026-03-27T23:00:00.000Z',
        '2026-03-28T23:00:00.000Z',
        '2026-03-29T22:00:00.000Z',
        '2026-03-30T22:00:00.000Z',
      ],
    ],
    // Clocks go back on 25 October 2026: that day has 25 hours.
    [
      'day',
      'Europe/Zurich',
      '2026-10-25T22:30:00Z',
      [
        '2026-10-23T22:00:00.000Z',
        '2026-10-24T22:00:00.000Z',
        '2026-10-25T23:00:00.000Z',
        '2026-10-26T23:00:00.000Z',
      ],
    ],
    [
      'week',
      'America/New_York',
      '2026-03-10T00:00:00Z',
      [
        '2026-03-02T05:00:00.000Z',
        '2026-03-09T04:00:00.000Z',
        '2026-03-16T04:00:00.000Z',
        '2026-03-23T04:00:00.000Z',
      ],
    ],
    [
      'month',
      'America/New_York',
      '2026-11-15T00:00:00Z',
      [
        '2026-10-01T04:00:00.000Z',
        '2026-11-01T04:00:00.000Z',
        '2026-12-01T05:00:00.000Z',
        '2027-01-01T05:00:00.000Z',
      ],
    ],
  ])('%s in %s at %s', (period, timeZone, now, expected) => {
    expect(texts(period, timeZone, now)).toEqual(expected);
  });

  it('begins a day once where midnight occurs twice, and after the gap where there is none', () => {
    // Havana puts its clocks back from 1:00 to 0:00 on 1 November 2026, and on from 0:00 to 1:00 on 8 March.
    const twice = ['2026-11-01T04:30:00Z', '2026-11-01T05:30:00Z', '2026-11-01T20:00:00Z'];
    expect(new Set(twice.map((now) => texts('day', 'America/Havana', now)[1]))).toEqual(
      new Set(['2026-11-01T04:00:00.000Z']),
    );
    expect(texts('day', 'America/Havana', '2026-03-08T18:00:00Z')[1]).toBe('2026-03-08T05:00:00.000Z');
  });

  it('gives one calendar, whatever moment of a period is asked about', () => {
    const zones = [
      'UTC',
      'Europe/Zurich',
      'America/Havana',
      'Africa/Cairo',
      'Australia/Lord_Howe',
      'Asia/Kathmandu',
    ];
    fc.assert(
      fc.property(
        fc.constantFrom<CalendarPeriod>('day', 'week', 'month'),
        fc.constantFrom(...zones),
        fc.integer({ min: at('2024-01-01T00:00:00Z'), max: at('2028-01-01T00:00:00Z') }),
        fc.integer({ min: 0, max: 99 }),
        (period, zone, now, percent) => {
          const [previous, present, next, afterNext] = periodStarts(period, zone, now);
          expect([previous, present, next, afterNext]).toEqual(
            [previous, present, next, afterNext].toSorted((left, right) => left - right),
          );
          expect(present <= now && now < next).toBe(true);
          // A moment of the next period sees the same edges one place further.
          const later = next + Math.floor(((afterNext - next - 1) * percent) / 100);
          expect(periodStarts(period, zone, later).slice(0, 3)).toEqual([present, next, afterNext]);
          expect(next - present).toBeGreaterThanOrEqual(23 * HOUR);
        },
      ),
      { numRuns: 300 },
    );
  });
});
