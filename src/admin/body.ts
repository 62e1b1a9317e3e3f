import type { IncomingMessage } from 'node:http';
import type { z } from 'zod';
import { formatPath } from '../config/load/issue.ts';
import { hasEachMemberOnce } from '../tokens/strict-json.ts';
import { AdminError } from './errors.ts';

/** Thousands of resources fit; more is no request that a person makes. */
export const LARGEST_BODY_BYTES = 8 * 1024 * 1024;

/** `text`: of whatever type, as it stands. */
export type BodyType = 'json' | 'form' | 'text';

const CONTENT_TYPES = {
  text: /^/,
  json: /^application\/json\b/i,
  form: /^application\/x-www-form-urlencoded\b/i,
} as const;

/**
 * Reads a body: JSON, a form as an object of texts, or a text.
 *
 * @throws AdminError unsupported_media_type, too_large, invalid_request
 */
export async function readBody(
  request: IncomingMessage,
  type: BodyType,
  largestBytes: number = LARGEST_BODY_BYTES,
): Promise<unknown> {
  if (!CONTENT_TYPES[type].test(request.headers['content-type'] ?? '')) {
    const wanted =
      type === 'json'
        ? 'The body must be JSON with content-type: application/json.'
        : 'The body must be a form with content-type: application/x-www-form-urlencoded.';
    throw new AdminError('unsupported_media_type', wanted);
  }
  const text = await readText(request, largestBytes);
  if (type === 'text') return text;
  if (type === 'form') return singly(new URLSearchParams(text), 'body');
  let body: unknown;
  try {
    body = JSON.parse(text);
  } catch {
    throw new AdminError('invalid_request', 'The body is not valid JSON.');
  }
  if (!hasEachMemberOnce(text, body))
    throw new AdminError('invalid_request', 'A member stands twice in an object of the body.');
  return body;
}

async function readText(request: IncomingMessage, largestBytes: number): Promise<string> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    const bytes = Buffer.from(chunk);
    length += bytes.length;
    if (length > largestBytes) throw new AdminError('too_large', `A body has at most ${largestBytes} bytes.`);
    chunks.push(bytes);
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
  } catch {
    throw new AdminError('invalid_request', 'The body is not valid UTF-8.');
  }
}

/**
 * Parameters as an object.
 *
 * @throws AdminError invalid_request where one is given twice: who reads the first and who reads the last would differ
 */
export function singly(parameters: URLSearchParams, place: string): Record<string, string> {
  const entries = [...parameters];
  const names = new Set(entries.map(([name]) => name));
  if (names.size < entries.length)
    throw new AdminError('invalid_request', `A parameter of the ${place} is given twice.`);
  return Object.fromEntries(entries);
}

/** Whether a string or a member's name in it has what Postgres takes in no text; without recursion, as depth is the sender's. */
function holdsNul(input: unknown): boolean {
  const open: unknown[] = [input];
  while (open.length > 0) {
    const value = open.pop();
    if (typeof value === 'string' && value.includes('\0')) return true;
    if (typeof value !== 'object' || value === null) continue;
    for (const [name, inner] of Object.entries(value)) open.push(name, inner);
  }
  return false;
}

/**
 * Checks input of a request against its schema.
 *
 * @throws AdminError invalid_request with `{path, message}` of each field that is wrong
 */
export function parseInput<Schema extends z.ZodType>(schema: Schema, input: unknown): z.output<Schema> {
  if (holdsNul(input))
    throw new AdminError('invalid_request', 'The request holds the character U+0000, which no text has.');
  const result = schema.safeParse(input);
  if (result.success) return result.data;
  const details = result.error.issues.map(({ path, message }) => ({ path: formatPath(path), message }));
  const [first] = details;
  throw new AdminError(
    'invalid_request',
    `The request is not right${first ? `: ${first.path ? `${first.path}: ` : ''}${first.message}` : ''}.`,
    details,
  );
}
