/** The same items in their order, as many at once as a store is to be given. */
export function* batchesOf<Item>(items: readonly Item[], most: number): Generator<readonly Item[]> {
  for (let from = 0; from < items.length; from += most) yield items.slice(from, from + most);
}
