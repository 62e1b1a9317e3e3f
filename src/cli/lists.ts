import { CliError } from './context.ts';

/** Things that were given separated by commas. */
export function parseList(text: string | undefined): string[] | undefined {
  return text
    ?.split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

/**
 * Labels as `NAME=VALUE`, separated by commas.
 *
 * @throws CliError
 */
export function parseLabels(text: string | undefined): Record<string, string> | undefined {
  const labels = parseList(text)?.map((label) => {
    const [, name, value] = /^([^=]+)=(.*)$/.exec(label) ?? [];
    if (name === undefined || value === undefined) {
      throw new CliError(
        `--labels ${JSON.stringify(label)} is not allowed; NAME=VALUE, separated by commas`,
        2,
      );
    }
    return [name, value] as const;
  });
  return labels && Object.fromEntries(labels);
}

/** All pages of a list. */
export async function allPages<Item>(
  read: (query: string) => Promise<{ readonly items: readonly Item[]; readonly next?: string | undefined }>,
): Promise<Item[]> {
  const all: Item[] = [];
  for (let query = ''; ;) {
    const { items, next } = await read(query);
    all.push(...items);
    if (next === undefined) return all;
    query = `&after=${encodeURIComponent(next)}`;
  }
}

/** A query out of what was given of it, with a `&` before each parameter. */
export function toQuery(parameters: Readonly<Record<string, string | boolean | undefined>>): string {
  return Object.entries(parameters)
    .flatMap(([name, value]) => (value === undefined ? [] : [`&${name}=${encodeURIComponent(value)}`]))
    .join('');
}
