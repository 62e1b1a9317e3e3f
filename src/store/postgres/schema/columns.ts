import { timestamp } from 'drizzle-orm/pg-core';

/** A point in time, to the millisecond as JavaScript has it. */
export function time() {
  return timestamp({ withTimezone: true, precision: 3, mode: 'date' });
}
