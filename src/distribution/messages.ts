import { z } from 'zod';
import type { Snapshot, VirtualKey } from '../core/snapshot.ts';

/** gRPC method of the stream between control plane and workers; messages are UTF-8 JSON. */
export const SUBSCRIBE_PATH = '/limen.control.v1.Distribution/Subscribe';

/** At most so many keys in one message, so that no message holds a worker up for long (about 1 MiB). */
export const KEYS_PER_MESSAGE = 5000;

/** SHA-256 in hex, as keys are named everywhere. */
const HASH = /^[0-9a-f]{64}$/;

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Only what workers would trip over is checked: the content is the control plane's own. */
function isVirtualKey(value: unknown): boolean {
  return (
    isRecord(value) &&
    typeof value['id'] === 'string' &&
    typeof value['user'] === 'string' &&
    typeof value['hash'] === 'string' &&
    HASH.test(value['hash']) &&
    (value['expiresAt'] === undefined || typeof value['expiresAt'] === 'number')
  );
}

function isSnapshot(value: unknown): boolean {
  return (
    isRecord(value) &&
    typeof value['version'] === 'string' &&
    isRecord(value['gateway']) &&
    isRecord(value['providers']) &&
    isRecord(value['models'])
  );
}

const keysPosition = z.object({ epoch: z.string(), sequence: z.int().nonnegative() });
const receipt = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('snapshot'), ordinal: z.int() }),
  /** `part` is 0 for a change, and counts from 1 within a whole table. */
  keysPosition.extend({ kind: z.literal('keys'), part: z.int().nonnegative() }),
]);

/** From the control plane to a worker. */
const toWorker = z.discriminatedUnion('type', [
  /** The control plane knows the worker; the rest follows. */
  z.object({ type: z.literal('welcome') }),
  z.object({
    type: z.literal('snapshot'),
    /** Grows with each publication on this control plane; names the publication in the receipt. */
    ordinal: z.int(),
    snapshot: z.custom<Snapshot>(isSnapshot, 'expected a snapshot'),
  }),
  /** A snapshot that the worker has already is the current one (again). */
  z.object({ type: z.literal('current'), ordinal: z.int(), version: z.string() }),
  /** A change of the key table: removals first, then what is new or different. */
  keysPosition.extend({
    type: z.literal('key-change'),
    upsert: z.array(z.custom<VirtualKey>(isVirtualKey, 'expected a virtual key')),
    remove: z.array(z.string()),
  }),
  /** A part of the whole key table, which takes the place of the worker's with the last part. */
  keysPosition.extend({
    type: z.literal('key-table'),
    part: z.int().positive(),
    last: z.boolean(),
    keys: z.array(z.custom<VirtualKey>(isVirtualKey, 'expected a virtual key')),
  }),
]);

/** From a worker to the control plane. */
const toControl = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('hello'),
    worker: z.string().min(1),
    /** Versions it can serve, oldest first. */
    snapshots: z.array(z.string()),
    keys: keysPosition.optional(),
  }),
  /** In force. */
  z.object({ type: z.literal('acknowledge'), receipt }),
  /** Not in force; the worker goes on with what it had. */
  z.object({ type: z.literal('refuse'), receipt, message: z.string() }),
]);

export type ToWorker = z.infer<typeof toWorker>;
export type ToControl = z.infer<typeof toControl>;
/** Which message an answer is about. */
export type Receipt = z.infer<typeof receipt>;
/** How far a key table is: `sequence` counts within `epoch`, the life of one control plane process. */
export type KeysPosition = z.infer<typeof keysPosition>;

/** A message as bytes. */
export function encodeMessage(message: ToWorker | ToControl): Buffer {
  return Buffer.from(JSON.stringify(message), 'utf8');
}

/** @throws where the bytes are no such message; the text says where, without the values. */
export function decodeToWorker(bytes: Buffer): ToWorker {
  return parse(toWorker, bytes);
}

/** @throws where the bytes are no such message; the text says where, without the values. */
export function decodeToControl(bytes: Buffer): ToControl {
  return parse(toControl, bytes);
}

/** What a message that could not be read was about, as far as that can be told: to refuse it by name. */
export function receiptOf(bytes: Buffer): Receipt | undefined {
  const json = jsonOf(bytes);
  if (!isRecord(json)) return undefined;
  const kind = json['type'] === 'snapshot' || json['type'] === 'current' ? 'snapshot' : 'keys';
  return receipt.safeParse({ part: 0, ...json, kind }).data;
}

function parse<Schema extends z.ZodType>(schema: Schema, bytes: Buffer): z.output<Schema> {
  const result = schema.safeParse(jsonOf(bytes));
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  throw new Error(`bad message: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`);
}

function jsonOf(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    return undefined;
  }
}
