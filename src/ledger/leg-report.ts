import { z } from 'zod';
import { ERROR_STATUS, type ErrorCode } from '../core/errors.ts';
import { parseRecord } from './records.ts';

const count = z.number().nonnegative();

function isErrorCode(text: string): text is ErrorCode {
  return Object.hasOwn(ERROR_STATUS, text);
}

/** An error code of ours, or undefined for a text that is none. */
export function errorCodeOf(text: string | undefined): ErrorCode | undefined {
  return text !== undefined && isErrorCode(text) ? text : undefined;
}

const usageSchema = z.object({
  input: count,
  output: count,
  cachedInput: count,
  cacheWrite: count,
  reasoning: count,
  audioInput: count.default(0),
  imageInput: count.default(0),
  audioOutput: count.default(0),
  imageOutput: count.default(0),
  total: count,
});

const legReportSchema = z.object({
  /** Tokens known so far; absent until something was told or counted. */
  usage: usageSchema.optional(),
  /** `provider`: the upstream's final word. `counted`: what had passed when this was written. */
  usageSource: z.enum(['provider', 'counted']).optional(),
  /** Error of the upstream that the leg turned into an answer or saw go by inside a stream. */
  errorCode: z.string().transform(errorCodeOf).optional(),
  /** Tokens of output after which the leg ended the answer, because a budget was used up. */
  cutOffTokens: count.optional(),
});

/**
 * What the response leg tells the ledger through Envoy's dynamic metadata. It is written again as the answer goes
 * on, so that the last one written before a client left holds the partial counts.
 */
export type LegReport = z.output<typeof legReportSchema>;

/** What a leg writes: the same, as JSON takes it. */
export type LegReportInput = z.input<typeof legReportSchema>;

/** The report in a metadata field, or undefined where there is none that can be read. */
export function readLegReport(json: string | undefined): LegReport | undefined {
  return parseRecord(legReportSchema, json);
}
