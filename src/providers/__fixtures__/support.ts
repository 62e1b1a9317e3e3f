import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { FormatName } from '../../formats/hub.ts';
import type { ProviderType } from '../provider.ts';
import { createResponseTransform, type ResponseTransform, type ResponseTransformOptions } from '../response-transform.ts';

/** Helpers of the tests of this folder. */

const ROOT = fileURLToPath(new URL('./', import.meta.url));

export function fixturePath(path: string): string {
  return ROOT + path;
}

export function fixture(path: string): Buffer {
  return readFileSync(fixturePath(path));
}

export function fixtureNames(folder: string, ending: string): string[] {
  return readdirSync(fixturePath(folder))
    .filter((name) => name.endsWith(ending))
    .sort();
}

export interface Direction {
  readonly format: FormatName;
  readonly provider: ProviderType;
}

export const DIRECTIONS: readonly Direction[] = [
  { format: 'messages', provider: 'openai' },
  { format: 'chat', provider: 'anthropic' },
];

/** A transform with everything but the direction at rest. */
export function transformFor(options: Direction & Partial<ResponseTransformOptions>): ResponseTransform {
  const stream = options.stream ?? true;
  return createResponseTransform({
    status: 200,
    headers: { 'content-type': stream ? 'text/event-stream' : 'application/json' },
    stream,
    exposeUsage: true,
    requestedModel: 'fast',
    created: 1763700123,
    requestId: 'req-1',
    ...options,
  });
}

/** Feeds the bytes cut at the given places; returns what the client gets. */
export function feed(transform: ResponseTransform, bytes: Buffer, places: readonly number[] = []): Buffer {
  const borders = [0, ...places.map((place) => place % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  const pieces = borders.slice(1).map((end, index) => transform.push(bytes.subarray(borders[index], end)));
  return Buffer.concat([...pieces, transform.end()]);
}
