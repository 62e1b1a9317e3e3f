import { z } from 'zod';
import type { DirectoryEntry, SeenUser } from '../core/access.ts';
import type { Snapshot } from '../core/snapshot.ts';

/** gRPC method of the stream between control plane and workers; messages are UTF-8 JSON. */
export const SUBSCRIBE_PATH = '/limen.control.v1.Distribution/Subscribe';

/** The most that one message holds of the directory (weightOf), so that none holds a worker up for long (about 160 KiB, a few milliseconds). */
export const ENTRIES_PER_MESSAGE = 1000;

/** Most sightings in one message. */
export const SIGHTINGS_PER_MESSAGE = 1000;

/** What an entry counts in ENTRIES_PER_MESSAGE: one, and more where it is much longer than a key. */
export function weightOf(entry: DirectoryEntry): number {
  switch (entry.type) {
    case 'key':
      return 1 + Math.floor(((entry.key.models?.length ?? 0) + (entry.key.tools?.length ?? 0)) / 8);
    case 'user':
      return 1 + Math.floor((entry.user.groups.length + (entry.user.claimGroups?.length ?? 0)) / 8);
    case 'issuer-keys':
      return 1 + 4 * entry.issuerKeys.keys.length;
    case 'revocation':
      return 1;
  }
}

/** SHA-256 in hex, as keys are named everywhere. */
const HASH = /^[0-9a-f]{64}$/;

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Only what workers would trip over is checked: the content is the control plane's own. */
function isEntry(value: unknown): boolean {
  if (!isRecord(value)) return false;
  switch (value['type']) {
    case 'key':
      return isVirtualKey(value['key']);
    case 'user':
      return isUser(value['user']);
    case 'issuer-keys':
      return isIssuerKeys(value['issuerKeys']);
    case 'revocation':
      return isRevocation(value['revocation']);
    default:
      return false;
  }
}

function isVirtualKey(value: unknown): boolean {
  return (
    isRecord(value) &&
    typeof value['id'] === 'string' &&
    typeof value['user'] === 'string' &&
    typeof value['hash'] === 'string' &&
    HASH.test(value['hash']) &&
    ['surfaces', 'models', 'tools', 'scopes', 'permissions'].every((list) => isOptionalList(value[list])) &&
    (value['expiresAt'] === undefined || typeof value['expiresAt'] === 'number')
  );
}

/** A list of another type would be taken for no bound, or for one that nothing meets. */
function isOptionalList(value: unknown): boolean {
  return value === undefined || isTexts(value);
}

function isTexts(value: unknown): boolean {
  return Array.isArray(value) && value.every((item) => typeof item === 'string');
}

function isUser(value: unknown): boolean {
  return (
    isRecord(value) &&
    typeof value['id'] === 'string' &&
    isTexts(value['groups']) &&
    isOptionalList(value['claimGroups']) &&
    isTexts(value['roles']) &&
    (value['disabled'] === undefined || typeof value['disabled'] === 'boolean')
  );
}

function isIssuerKeys(value: unknown): boolean {
  return (
    isRecord(value) &&
    typeof value['provider'] === 'string' &&
    typeof value['issuer'] === 'string' &&
    Array.isArray(value['keys']) &&
    value['keys'].every((key) => isRecord(key) && typeof key['kty'] === 'string')
  );
}

function isRevocation(value: unknown): boolean {
  return (
    isRecord(value) &&
    typeof value['id'] === 'string' &&
    ['jti', 'subject', 'issuer'].some((kind) => kind === value['kind']) &&
    typeof value['value'] === 'string' &&
    typeof value['before'] === 'number' &&
    typeof value['until'] === 'number'
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

const directoryPosition = z.object({ epoch: z.string(), sequence: z.int().nonnegative() });
const receipt = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('snapshot'), ordinal: z.int() }),
  /** `part` is 0 for a change, and counts from 1 within a whole table. */
  directoryPosition.extend({ kind: z.literal('directory'), part: z.int().nonnegative() }),
]);

const directoryEntry = z.custom<DirectoryEntry>(isEntry, 'expected an entry of the directory');

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
  /** A change of the directory: removals first, then what is new or different. */
  directoryPosition.extend({
    type: z.literal('directory-change'),
    upsert: z.array(directoryEntry),
    /** Names (entryName). */
    remove: z.array(z.string()),
  }),
  /** A part of the whole directory, which takes the place of the worker's with the last part. */
  directoryPosition.extend({
    type: z.literal('directory-table'),
    part: z.int().positive(),
    last: z.boolean(),
    entries: z.array(directoryEntry),
  }),
]);

/** Longest text of a token's making that goes on; who verifies tokens has bounded them before. */
const text = z.string().max(1024);

const seenUser = z.object({
  id: text,
  provider: text,
  email: text.optional(),
  name: text.optional(),
  groups: z.array(text).max(1000),
  tenant: text.optional(),
  issuedAt: z.number().optional(),
  seenAt: z.number(),
});

/** Whether the control plane would take it. */
export function isSeenUser(user: SeenUser): boolean {
  return seenUser.safeParse(user).success;
}

/** Identity providers that one worker may ask for at once. */
export const MOST_KEY_REQUESTS = 64;

const keyRequest = z.object({ provider: text, kid: text });

/** From a worker to the control plane. */
const toControl = z.discriminatedUnion('type', [
  z.object({
    type: z.literal('hello'),
    worker: z.string().min(1),
    /** Versions it can serve, oldest first. */
    snapshots: z.array(z.string()),
    directory: directoryPosition.optional(),
  }),
  /** In force. */
  z.object({ type: z.literal('acknowledge'), receipt }),
  /** Not in force; the worker goes on with what it had. */
  z.object({ type: z.literal('refuse'), receipt, message: z.string() }),
  /** What it saw since it last told: nobody answers that, and one that is lost comes again when it is seen again. */
  z.object({ type: z.literal('sighting'), keys: z.record(text, z.number()), users: z.array(seenUser) }),
  /** Signing keys that tokens named and that it does not have. */
  z.object({ type: z.literal('key-request'), requests: z.array(keyRequest).max(MOST_KEY_REQUESTS) }),
]);

export type ToWorker = z.infer<typeof toWorker>;
export type ToControl = z.infer<typeof toControl>;
/** What a worker says of itself and of what it was sent. */
export type FollowerMessage = Extract<ToControl, { type: 'hello' | 'acknowledge' | 'refuse' }>;
/** What a worker tells of its own accord. */
export type ReportMessage = Exclude<ToControl, FollowerMessage>;
/** Which message an answer is about. */
export type Receipt = z.infer<typeof receipt>;
/** How far a directory is: `sequence` counts within `epoch`, the life of one control plane process. */
export type DirectoryPosition = z.infer<typeof directoryPosition>;
/** A signing key that a token named, of an identity provider whose known keys it is not among. */
export type KeyRequest = z.infer<typeof keyRequest>;

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
  const kind = json['type'] === 'snapshot' || json['type'] === 'current' ? 'snapshot' : 'directory';
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
