import { LimenError } from '../../core/errors.ts';
import type { RequestInspection, UsageInspection } from '../format.ts';
import { editTopLevel } from '../json/edit.ts';
import { isObject } from '../json/parse.ts';
import { findMember, readMember, scanTopLevel, type TopLevel } from '../json/scan.ts';
import { readModel, readOptionalBoolean, readOptionalInteger } from '../json/members.ts';
import { GUARDED_MEMBERS } from './schema.ts';

const GUARDED_STREAM_OPTIONS: ReadonlySet<string> = new Set(['include_usage']);

/** Scans the body once and parses only the few small members that routing needs. */
export function inspectChatRequest(body: Buffer): RequestInspection {
  const topLevel = scanTopLevel(body, GUARDED_MEMBERS);
  const model = readModel(body, topLevel);
  const stream = readOptionalBoolean(body, topLevel, 'stream') ?? false;
  // Servers differ in which of the two they take: the larger one is the bound.
  const limits = ['max_completion_tokens', 'max_tokens'].flatMap(
    (name) => readOptionalInteger(body, topLevel, name) ?? [],
  );
  const maxOutputTokens = limits.length === 0 ? undefined : Math.max(...limits);
  const candidateCount = readOptionalInteger(body, topLevel, 'n') ?? 1;
  const options = readMember(body, topLevel, 'stream_options');
  if (options !== undefined && options !== null && !isObject(options)) {
    throw new LimenError('invalid_request', "The field 'stream_options' must be an object.", {
      param: 'stream_options',
    });
  }
  const includeUsage = isObject(options) && options['include_usage'] === true;
  // Whoever names it twice could have the upstream read the other one, and tell no usage.
  if (includeUsage) scanStreamOptions(body, topLevel);
  return { model, stream, includeUsage, maxOutputTokens, candidateCount, framing: 'sse', topLevel };
}

function scanStreamOptions(body: Buffer, topLevel: TopLevel): void {
  const member = findMember(topLevel, 'stream_options');
  if (member !== undefined) {
    scanTopLevel(body.subarray(member.valueStart, member.valueEnd), GUARDED_STREAM_OPTIONS);
  }
}

/**
 * Asks for the usage chunk of a stream (`stream_options.include_usage`) and keeps whatever else
 * `stream_options` says.
 */
export function chatUsageRequestEdits(
  body: Buffer,
  inspection: UsageInspection,
): ReadonlyMap<string, string> {
  if (!inspection.stream || inspection.includeUsage) return new Map();
  const member = findMember(inspection.topLevel, 'stream_options');
  const text = member && body.subarray(member.valueStart, member.valueEnd);
  if (text === undefined || text.equals(NULL)) return new Map([['stream_options', '{"include_usage":true}']]);
  const options = scanTopLevel(text, GUARDED_STREAM_OPTIONS);
  const edited = editTopLevel(text, options, new Map([['include_usage', 'true']]));
  return new Map([['stream_options', edited.toString('utf8')]]);
}

const NULL = Buffer.from('null');
