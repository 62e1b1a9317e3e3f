/** Edits (insert, delete, replace, swap of neighbours) that turn one word into the other. */
export function editDistance(left: string, right: string): number {
  let beforePrevious: number[] = [];
  let previous = Array.from({ length: right.length + 1 }, (_, column) => column);
  for (let row = 1; row <= left.length; row += 1) {
    const current = [row];
    for (let column = 1; column <= right.length; column += 1) {
      const same = left[row - 1] === right[column - 1];
      let cost = Math.min(
        (previous[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (previous[column - 1] ?? 0) + (same ? 0 : 1),
      );
      if (
        row > 1 &&
        column > 1 &&
        left[row - 1] === right[column - 2] &&
        left[row - 2] === right[column - 1]
      ) {
        cost = Math.min(cost, (beforePrevious[column - 2] ?? 0) + 1);
      }
      current.push(cost);
    }
    beforePrevious = previous;
    previous = current;
  }
  return previous[right.length] ?? 0;
}

/**
 * The candidates that look most like a mistyped name, nearest first: for "did you mean".
 *
 * @param most how many to return; only those within half of the name's length are returned at all
 */
export function nearestNames(name: string, candidates: Iterable<string>, most = 3): string[] {
  const wanted = name.toLowerCase();
  const farthest = Math.ceil(name.length / 2);
  return (
    [...candidates]
      // Two words are as far apart as their lengths, at the least.
      .filter((candidate) => Math.abs(candidate.length - name.length) <= farthest)
      .map((candidate) => ({ candidate, distance: editDistance(wanted, candidate.toLowerCase()) }))
      .filter(({ distance }) => distance <= farthest)
      .sort((left, right) => left.distance - right.distance || left.candidate.localeCompare(right.candidate))
      .slice(0, most)
      .map(({ candidate }) => candidate)
  );
}

/** `did you mean NAME?`; undefined where no candidate is like it. */
export function didYouMean(name: string, candidates: Iterable<string>): string | undefined {
  const [nearest] = nearestNames(name, candidates, 1);
  return nearest === undefined ? undefined : `did you mean ${nearest}?`;
}

/** How a sentence ends that says there is no such name: `; did you mean NAME?`, or a full stop. */
export function endOfUnknown(name: string, candidates: Iterable<string>): string {
  const hint = didYouMean(name, candidates);
  return hint === undefined ? '.' : `; ${hint}`;
}
