import { isUtf8 } from 'node:buffer';

export type JsonObject = Readonly<Record<string, unknown>>;

/** A string, and whether it is a member's name. In text that JSON.parse has taken, strings cannot be mistaken. */
const STRING = /"(?:[^"\\]|\\.)*"(\s*:)?/g;

/**
 * Parses one JSON object. A second member of the same name is refused at any depth: parsers differ in which of the two
 * they take, and who signed the token may have meant the other one.
 *
 * @returns undefined for anything else
 */
export function parseStrictObject(bytes: Buffer): JsonObject | undefined {
  if (!isUtf8(bytes)) return undefined;
  const text = bytes.toString('utf8');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  return isObject(value) && hasEachMemberOnce(text, value) ? value : undefined;
}

/** Whether no object in JSON text has two members of one name. */
export function hasEachMemberOnce(text: string, parsed: unknown): boolean {
  let written = 0;
  for (const [, colon] of text.matchAll(STRING)) if (colon !== undefined) written += 1;
  return countMembers(parsed) === written;
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Of all objects in it; without recursion, because the depth is the sender's choice. */
function countMembers(root: unknown): number {
  const open: unknown[] = [root];
  let members = 0;
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value !== 'object' || value === null) continue;
    const inner: unknown[] = Object.values(value);
    if (!Array.isArray(value)) members += inner.length;
    open.push(...inner);
  }
  return members;
}
