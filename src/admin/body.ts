import type { IncomingMessage } from 'node:http';
import type { z } from 'zod';
import { formatPath } from '../config/load/issue.ts';
import { AdminError } from './errors.ts';

/** Thousands of resources fit; more is no request that a person makes. */
export const LARGEST_BODY_BYTES = 8 * 1024 * 1024;

/**
 * Reads a JSON body.
 *
 * @throws AdminError unsupported_media_type, too_large, invalid_request
 */
export async function readJson(request: IncomingMessage): Promise<unknown> {
  const type = request.headers['content-type'] ?? '';
  if (!/^application\/json\b/i.test(type)) {
    throw new AdminError(
      'unsupported_media_type',
      'The body must be JSON with content-type: application/json.',
    );
  }
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of request) {
    const bytes = Buffer.from(chunk);
    length += bytes.length;
    if (length > LARGEST_BODY_BYTES)
      throw new AdminError('too_large', `A body has at most ${LARGEST_BODY_BYTES} bytes.`);
    chunks.push(bytes);
  }
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks));
    const body: unknown = JSON.parse(text);
    return body;
  } catch {
    throw new AdminError('invalid_request', 'The body is not valid JSON.');
  }
}

/**
 * Checks input of a request against its schema.
 *
 * @throws AdminError invalid_request with `{path, message}` of each field that is wrong
 */
export function parseInput<Schema extends z.ZodType>(schema: Schema, input: unknown): z.output<Schema> {
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
