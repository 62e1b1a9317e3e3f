import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { StreamFraming } from '../formats/format.ts';
import { ANSWER_FOLDERS, feed, fixture, fixtureNames } from './__fixtures__/support.ts';
import { createResponseTransform } from './response-transform.ts';
import { DEFAULT_RESPONSE_LIMITS, type ResponseTransform } from './response/transform.ts';
import { apiFor } from './translate.ts';

/** Every cell of the matrix, streamed: any split of the bytes gives the same bytes, and hostile ones a clear end. */

const CELLS = ANSWER_FOLDERS.flatMap((answers) =>
  answers.clients.flatMap((client) =>
    (client === 'gemini' ? (['sse', 'json-array'] as const) : (['sse'] as const))
      // Gemini's own stream is asked for in the client's framing: there is nothing to convert.
      .filter((framing) => framing === 'sse' || answers.folder !== 'gemini')
      .map((framing) => ({ ...answers, client, framing })),
  ),
);
type Cell = (typeof CELLS)[number];

const limits = { ...DEFAULT_RESPONSE_LIMITS, maxEventBytes: 64 * 1024 };

function transformOf(cell: Cell, framing: StreamFraming = cell.framing): ResponseTransform {
  return createResponseTransform({
    clientFormat: cell.client,
    target: cell.target,
    status: 200,
    headers: { 'content-type': cell.contentType },
    stream: true,
    framing,
    exposeUsage: true,
    requestedModel: 'fast',
    created: 1763700123,
    requestId: 'req-1',
    limits,
  });
}

describe.each(CELLS)('$folder for a $client client ($framing)', (cell) => {
  it.each(fixtureNames(cell.folder, cell.streams))('any split of %s', (name) => {
    const bytes = fixture(`${cell.folder}/${name}`);
    const whole = transformOf(cell);
    const expected = feed(whole, bytes).toString();
    const check = (places: readonly number[]): void => {
      const split = transformOf(cell);
      expect(feed(split, bytes, places).toString()).toBe(expected);
      expect([split.usage, split.outcome]).toEqual([whole.usage, whole.outcome]);
    };
    check(Array.from({ length: bytes.length }, (_, index) => index));
    fc.assert(fc.property(fc.array(fc.nat(), { maxLength: 12 }), check), { numRuns: 15 });
  });

  // What nobody converts is what the provider sent, hostile or not.
  const api = apiFor(cell.target, cell.client, true, cell.framing);
  const converts = api.format !== cell.client;
  const passes = !converts && api.framing === 'sse';
  const start = fixture(`${cell.folder}/text${cell.streams}`).subarray(0, 200);

  it.each(
    converts
      ? [
          ['an endless line', Buffer.alloc(300_000, 'x')],
          ['invalid JSON', Buffer.from('\n\ndata: {"choices": secret-of-upstream\n\n')],
          ['JSON that is no object', Buffer.from('\n\ndata: ["secret-of-upstream"]\n\n')],
        ]
      : [],
  )('ends with a clear error after %s', (_name, hostile) => {
    const answer = transformOf(cell);
    const bytes = [answer.push(start), answer.push(hostile), answer.push(start), answer.end()];
    const client = Buffer.concat(bytes).toString();
    expect([answer.outcome, answer.error?.code]).toEqual(['error', 'upstream_invalid_response']);
    expect(client).not.toContain('secret-of-upstream');
    // Responses says it twice, as OpenAI does: by an error event and by the response's own status.
    const times = cell.client === 'responses' ? 2 : 1;
    expect(client.match(/upstream_invalid_response/g)).toHaveLength(times);
    expect(client).not.toMatch(/\[DONE\]|message_stop|response\.completed/);
  });

  it('survives arbitrary bytes', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 5 }), (chunks) => {
        const answer = transformOf(cell);
        const sent = Buffer.concat(chunks);
        const given = Buffer.concat([
          ...chunks.map((chunk) => answer.push(Buffer.from(chunk))),
          answer.end(),
        ]);
        // Of what passes and cannot be read nobody knows whether it is whole, but it passes byte for byte.
        const isRight = passes ? given.subarray(0, sent.length).equals(sent) : answer.outcome !== 'complete';
        expect(isRight).toBe(true);
      }),
      { numRuns: 30, examples: [[[Uint8Array.of(0x5b), Uint8Array.of(0)]]] },
    );
  });
});
