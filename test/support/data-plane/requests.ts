import { createHash } from 'node:crypto';
import type { ClientFormatName } from '../../../src/formats/hub.ts';

/** Path of a client format's endpoint; Gemini's names the model. */
export const PATHS: Readonly<Record<Exclude<ClientFormatName, 'gemini'>, string>> = {
  chat: '/v1/chat/completions',
  responses: '/v1/responses',
  messages: '/v1/messages',
};

export interface RequestFields {
  readonly model: string;
  readonly stream?: boolean;
  readonly includeUsage?: boolean;
  readonly content?: string;
}

/** The Messages API demands a limit of output. */
export const MESSAGES_MAX_TOKENS = 64;

/** An ordinary request of a format as JSON text. */
export function requestBody(format: ClientFormatName, fields: RequestFields): string {
  const { model, stream, includeUsage, content = 'Say hello.' } = fields;
  if (format === 'gemini')
    return JSON.stringify({ contents: [{ role: 'user', parts: [{ text: content }] }] });
  return JSON.stringify({
    model,
    ...(format === 'messages' ? { max_tokens: MESSAGES_MAX_TOKENS } : {}),
    ...(format === 'responses' ? { input: content } : { messages: [{ role: 'user', content }] }),
    ...(stream === undefined ? {} : { stream }),
    ...(includeUsage === undefined ? {} : { stream_options: { include_usage: includeUsage } }),
  });
}

/** Path and body of an ordinary request. */
export function request(format: ClientFormatName, fields: RequestFields): { path: string; body: string } {
  const method = fields.stream === true ? 'streamGenerateContent?alt=sse' : 'generateContent';
  const path = format === 'gemini' ? `/v1beta/models/${fields.model}:${method}` : PATHS[format];
  return { path, body: requestBody(format, fields) };
}

/** SHA-256 in hex. */
export function sha256(bytes: Buffer | string): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/** A stream of numbers in [0, 1) that is the same in every run (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** The bytes in pieces of 1 to `largest` bytes, the same for the same seed. */
export function splitAtRandom(bytes: Buffer, largest: number, seed: number): Buffer[] {
  const random = seededRandom(seed);
  const pieces: Buffer[] = [];
  for (let offset = 0; offset < bytes.length;) {
    const length = 1 + Math.floor(random() * largest);
    pieces.push(bytes.subarray(offset, offset + length));
    offset += length;
  }
  return pieces;
}
