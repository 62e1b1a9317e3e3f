import { createHash } from 'node:crypto';
import { ownerOf, type Principal } from '../core/principal.ts';
import type { SnapshotCache, SnapshotModel } from '../core/snapshot.ts';
import type { Format, RequestInspection } from '../formats/format.ts';
import { compactJson } from '../formats/json/compact.ts';
import { responseEvents } from '../formats/replay.ts';
import { WarningList } from '../formats/warnings.ts';
import { JSON_HEADERS, type Answer, type RequestHead } from './answer.ts';

/**
 * Members that say nothing about what is asked: how the answer travels, who asks, and labels. Responses repeats its
 * labels in the answer, so there they count.
 */
const SILENT_MEMBERS: Readonly<Record<string, ReadonlySet<string>>> = {
  chat: new Set([
    'stream',
    'stream_options',
    'user',
    'safety_identifier',
    'prompt_cache_key',
    'prompt_cache_retention',
    'metadata',
    'store',
  ]),
  responses: new Set(['stream', 'stream_options']),
  messages: new Set(['stream', 'metadata']),
  gemini: new Set(['labels']),
  embeddings: new Set(['user']),
};

/** Raised when keys or kept answers change their form: what is there is then found no more. */
const VERSION = 1;

/** How one request uses the cache. */
export interface CacheUse {
  readonly key: string;
  readonly seconds: number;
  /** Others than this caller may get the answer. */
  readonly shared: boolean;
  /** Whether an answer that is there may be given; the client may ask for a fresh one. */
  readonly mayAnswer: boolean;
}

export interface CacheQuestion {
  readonly model: SnapshotModel;
  readonly principal: Principal;
  /** The operation: a client format, or `embeddings`. */
  readonly operation: string;
  readonly inspection: RequestInspection;
  readonly body: Buffer;
  readonly head: RequestHead;
  /** What of the client's query reaches a provider. */
  readonly query: string;
  /** Headers of the client's API, which may change what an answer is. */
  readonly clientHeaders: readonly string[];
}

/** Undefined where the answer is neither looked up nor kept. */
export function cacheUse(question: CacheQuestion): CacheUse | undefined {
  const { cache } = question.model;
  // Of several answers to one request a stream cannot be made whole again.
  if (cache === undefined || question.inspection.candidateCount > 1) return undefined;
  const wishes = (question.head.header('cache-control') ?? '').toLowerCase().split(/[\s,]+/);
  if (wishes.includes('no-store')) return undefined;
  return {
    key: `answer:${cacheKey(question, cache)}`,
    seconds: cache.ttlSeconds,
    shared: cache.scope !== 'key',
    mayAnswer: !wishes.includes('no-cache'),
  };
}

/**
 * SHA-256 of all that makes a request what it is: who may share the answer, model and its targets, API, headers and query
 * of that API, and the members of the body in the order of their names, without white space. Inside of members order counts: a model
 * writes the properties of a schema in the order in which they stand there.
 */
function cacheKey(question: CacheQuestion, cache: SnapshotCache): string {
  const { model, operation, inspection, body, head } = question;
  const silent = SILENT_MEMBERS[operation];
  const hash = createHash('sha256');
  const headers = question.clientHeaders.map((name) => head.header(name) ?? null);
  const asked = [VERSION, scopeOf(cache, question.principal), operation, model.name, inspection.model];
  // A Model that was changed has no answers yet.
  const answering = [
    model.targets.map(({ provider, model: name }) => [provider, name ?? null]),
    model.losses,
  ];
  hash.update(JSON.stringify([...asked, answering, headers, question.query]));
  const members = inspection.topLevel.members
    .filter(({ key }) => silent?.has(key) !== true)
    // Two of one name stay in their order: the sort is stable.
    .sort((left, right) => (left.key < right.key ? -1 : left.key > right.key ? 1 : 0));
  for (const { key, valueStart, valueEnd } of members) {
    hash.update(`\n${JSON.stringify(key)}:`);
    hash.update(compactJson(body.subarray(valueStart, valueEnd)));
  }
  return hash.digest('hex');
}

/** Whoever shares, shares within one tenant. */
function scopeOf(cache: SnapshotCache, principal: Principal): readonly string[] {
  const { tenant = '', user, team } = principal;
  switch (cache.scope) {
    case 'everybody':
      return ['tenant', tenant];
    case 'user':
      return ['user', tenant, user];
    case 'team':
      // Who is in no team shares with nobody.
      return team === undefined ? ['key', ownerOf(principal)] : ['team', tenant, team];
    case 'key':
      return ['key', ownerOf(principal)];
  }
}

/** What is kept of an answer. */
export interface KeptAnswer {
  /** The fields that its provider could not be told, as `x-limen-dropped` names them. */
  readonly dropped: string;
  /** JSON in the client's format. */
  readonly body: Buffer;
}

export function encodeKept({ dropped, body }: KeptAnswer): Buffer {
  return Buffer.concat([Buffer.from(`${dropped}\n`), body]);
}

function decodeKept(kept: Buffer): KeptAnswer {
  const end = kept.indexOf('\n');
  return { dropped: kept.toString('latin1', 0, end), body: kept.subarray(end + 1) };
}

/**
 * The answer to an equal request, as JSON or played as a stream. Throws where what was kept cannot be read.
 *
 * @param created Unix seconds
 */
export function keptAnswer(
  found: Buffer,
  format: Format | undefined,
  request: {
    readonly inspection: RequestInspection;
    readonly exposeUsage: boolean;
    readonly created: number;
    readonly requestId: string;
  },
): Answer {
  const { dropped, body } = decodeKept(found);
  const { inspection } = request;
  const headers = {
    'x-limen-cache': 'hit',
    ...(dropped === '' ? {} : { 'x-limen-dropped': dropped }),
  };
  if (format === undefined || !inspection.stream) {
    return { kind: 'answer', status: 200, headers: { ...JSON_HEADERS, ...headers }, body };
  }
  const encoder = format.createStreamEncoder({
    warnings: new WarningList(),
    requestedModel: inspection.model,
    created: request.created,
    requestId: request.requestId,
    exposeUsage: request.exposeUsage,
    framing: inspection.framing,
  });
  for (const event of responseEvents(format.decodeResponse(body))) encoder.write(event);
  const type = inspection.framing === 'sse' ? 'text/event-stream; charset=utf-8' : 'application/json';
  return {
    kind: 'answer',
    status: 200,
    headers: { 'content-type': type, 'cache-control': 'no-cache', ...headers },
    body: encoder.take(),
  };
}
