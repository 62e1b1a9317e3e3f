import { ilike, or, type SQL } from 'drizzle-orm';
import type { PgColumn } from 'drizzle-orm/pg-core';

/** Rows of which one of the columns holds the text, in whatever case; no condition where there is no text. */
export function holdsText(text: string | undefined, columns: readonly PgColumn[]): SQL | undefined {
  if (text === undefined || text === '') return undefined;
  const pattern = `%${text.replace(/[\\%_]/g, String.raw`\$&`)}%`;
  return or(...columns.map((column) => ilike(column, pattern)));
}
