/**
 * Lines of a table with aligned columns, two spaces apart; the last column is not padded.
 *
 * @param head names of the columns, written in capitals
 */
export function formatTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = [head.map((name) => name.toUpperCase()), ...rows.map((row) => row.map(printable))];
  const widths = head.map((_, column) => Math.max(...all.map((row) => (row[column] ?? '').length)));
  return all
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/**
 * Lines of `name: value` for one thing, values aligned; what has no value is left out.
 *
 * @param fields name, value
 */
export function formatFields(fields: readonly (readonly [string, string | undefined])[]): string {
  const shown = fields.filter(([, value]) => value !== undefined && value !== '');
  const width = Math.max(...shown.map(([name]) => name.length)) + 1;
  return shown.map(([name, value]) => `${`${name}:`.padEnd(width)}  ${printable(value ?? '')}`).join('\n');
}

/** Control characters, and those that turn the direction of text around. */
const UNPRINTABLE = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

/** Names come from tokens and requests too: none may steer the terminal, or break a line. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (one) => `\\u${(one.codePointAt(0) ?? 0).toString(16).padStart(4, '0')}`);
}

/** What stands in a cell that has nothing to say. */
export const NOTHING = '-';

/** A point in time as people read it, to the minute, in UTC: `2027-01-31 08:00`. */
export function formatTime(iso: string | number | undefined): string {
  if (iso === undefined) return NOTHING;
  return new Date(iso).toISOString().slice(0, 16).replace('T', ' ');
}
