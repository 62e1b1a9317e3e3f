import type { TopLevel, TopLevelMember } from './scan.ts';

/** New JSON text of each named member; undefined removes it. A member that is missing is added at the end. */
export type TopLevelEdits = ReadonlyMap<string, string | undefined>;

interface Splice {
  readonly start: number;
  readonly end: number;
  readonly text: string;
}

/**
 * Replaces, adds and removes top-level members and leaves every other byte as it was: key order, white space,
 * big numbers, unknown fields. Copies the body once; returns it unchanged where there is nothing to edit.
 */
export function editTopLevel(body: Buffer, topLevel: TopLevel, edits: TopLevelEdits): Buffer {
  return edits.size === 0 ? body : applySplices(body, planSplices(topLevel, edits));
}

function planSplices(topLevel: TopLevel, edits: TopLevelEdits): Splice[] {
  const { members } = topLevel;
  const isKept = (member: TopLevelMember): boolean =>
    !edits.has(member.key) || edits.get(member.key) !== undefined;
  const lastKept = members.findLastIndex(isKept);
  const splices: Splice[] = [];
  for (const [index, member] of members.entries()) {
    if (index > lastKept) break;
    if (!isKept(member)) {
      // The next member exists, since a kept one follows: take the comma and the space before it as well.
      const next = members[index + 1];
      if (next !== undefined) splices.push({ start: member.keyStart, end: next.keyStart, text: '' });
      continue;
    }
    const text = edits.get(member.key);
    if (text !== undefined) splices.push({ start: member.valueStart, end: member.valueEnd, text });
  }
  const anchor = members[lastKept]?.valueEnd ?? topLevel.start + 1;
  const present = new Set(members.map((member) => member.key));
  const added = [...edits].flatMap(([key, text]) =>
    text === undefined || present.has(key) ? [] : [`${JSON.stringify(key)}:${text}`],
  );
  const separator = lastKept >= 0 && added.length > 0 ? ',' : '';
  const lastMember = members.at(-1);
  const tailEnd = lastMember !== undefined && lastKept < members.length - 1 ? lastMember.valueEnd : anchor;
  if (added.length > 0 || tailEnd > anchor) {
    splices.push({ start: anchor, end: tailEnd, text: separator + added.join(',') });
  }
  return splices;
}

function applySplices(body: Buffer, splices: readonly Splice[]): Buffer {
  if (splices.length === 0) return body;
  let size = body.length;
  for (const splice of splices) size += Buffer.byteLength(splice.text) - (splice.end - splice.start);
  const result = Buffer.allocUnsafe(size);
  let read = 0;
  let written = 0;
  for (const splice of splices) {
    written += body.copy(result, written, read, splice.start);
    written += result.write(splice.text, written);
    read = splice.end;
  }
  body.copy(result, written, read);
  return result;
}
