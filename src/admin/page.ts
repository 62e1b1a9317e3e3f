/** A page of a list, and what asks for the next one. */
export interface Page<Item> {
  readonly items: readonly Item[];
  /** Id of the last one, where there are more. */
  readonly next: string | undefined;
}

/**
 * Reads a page: one more than is shown tells whether there is another.
 *
 * @param read at most so many
 */
export async function readPage<Item extends { readonly id: string }>(
  limit: number,
  read: (limit: number) => Promise<readonly Item[]>,
): Promise<Page<Item>> {
  const found = await read(limit + 1);
  const items = found.slice(0, limit);
  return { items, next: found.length > limit ? items.at(-1)?.id : undefined };
}

/** As the API writes times. */
export function iso(time: number): string;
export function iso(time: number | undefined): string | undefined;
export function iso(time: number | undefined): string | undefined {
  return time === undefined ? undefined : new Date(time).toISOString();
}
