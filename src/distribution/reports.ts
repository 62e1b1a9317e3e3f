import { mergedSighting, type IdentityReports, type SeenUser } from '../core/access.ts';
import { isSeenUser, MOST_KEY_REQUESTS, SIGHTINGS_PER_MESSAGE, type ReportMessage } from './messages.ts';

export interface WorkerReportsOptions {
  /** How long sightings are gathered before they are told; 30 seconds unless told otherwise. */
  readonly gatherMs?: number;
}

/** Takes a message; false: it was the last one until `resume`. */
export type SendReport = (message: ReportMessage) => boolean;

const GATHER_MS = 30_000;
/** Asking for keys again sooner would not bring them sooner: the control plane asks an issuer far less often. */
const KEY_REQUEST_PAUSE_MS = 1000;
const LONGEST_KID = 256;
/** A user who goes on is told of again after so long, so that it is known when they were last seen. */
const TELL_AGAIN_MS = 300_000;
/** Bounds of what waits while nobody takes it. What is beyond them is told when it is seen again. */
const MOST_KEYS = 100_000;
const MOST_USERS = 20_000;

/**
 * What a worker saw of keys and users, until the control plane has taken it: the same key or user many times is one
 * sighting. Losing one costs the exactness of "last used", and a user who is seen again a later start.
 */
export class WorkerReports implements IdentityReports {
  readonly #gatherMs: number;
  /** Key id → Unix ms. */
  readonly #keys = new Map<string, number>();
  readonly #users = new Map<string, SeenUser>();
  /** What was told of a user, and when; oldest first. */
  readonly #told = new Map<string, { readonly said: string; readonly at: number }>();
  /** Provider → kid. */
  readonly #wanted = new Map<string, string>();
  #send: SendReport | undefined;
  #full = false;
  #gathering: NodeJS.Timeout | undefined;
  #asking: NodeJS.Timeout | undefined;

  constructor(options: WorkerReportsOptions = {}) {
    this.#gatherMs = options.gatherMs ?? GATHER_MS;
  }

  keyUsed(id: string, at: number): void {
    if (this.#keys.size >= MOST_KEYS && !this.#keys.has(id)) return;
    this.#keys.set(id, at);
    this.#gathered();
  }

  userSeen(user: SeenUser): void {
    const { seenAt, issuedAt: _, ...rest } = user;
    const said = JSON.stringify(rest);
    const told = this.#told.get(user.id);
    if (told !== undefined && told.said === said && seenAt - told.at < TELL_AGAIN_MS) return;
    if (this.#users.size >= MOST_USERS && !this.#users.has(user.id)) return;
    // The control plane would refuse the whole message, and the stream with it.
    if (!isSeenUser(user)) return;
    this.#told.delete(user.id);
    this.#told.set(user.id, { said, at: seenAt });
    const [oldest] = this.#told.keys();
    if (this.#told.size > MOST_USERS && oldest !== undefined) this.#told.delete(oldest);
    const waiting = this.#users.get(user.id);
    this.#users.set(user.id, waiting === undefined ? user : mergedSighting(waiting, user));
    this.#gathered();
  }

  keyMissing(provider: string, kid: string): void {
    if (this.#wanted.size >= MOST_KEY_REQUESTS && !this.#wanted.has(provider)) return;
    this.#wanted.set(provider, kid.slice(0, LONGEST_KID));
    if (this.#asking === undefined) this.#ask();
  }

  /** The control plane is there. */
  attach(send: SendReport): void {
    this.#send = send;
    this.resume();
  }

  /** It is away: what it was told last may not have reached it. */
  detach(): void {
    this.#send = undefined;
    this.#told.clear();
  }

  /** It takes messages again. */
  resume(): void {
    this.#full = false;
    if (this.#asking === undefined && this.#wanted.size > 0) this.#ask();
    if (this.#keys.size + this.#users.size > 0) this.#gathered();
  }

  /** Tells everything that waits, as far as it is taken. */
  flush(): void {
    clearTimeout(this.#gathering);
    this.#gathering = undefined;
    while (this.#keys.size + this.#users.size > 0) {
      if (this.#send === undefined || this.#full) return;
      this.#full = !this.#send({
        type: 'sighting',
        keys: Object.fromEntries(takeFrom(this.#keys, () => 1)),
        users: takeFrom(this.#users, weightOfUser).map(([, user]) => ({ ...user, groups: [...user.groups] })),
      });
    }
  }

  close(): void {
    clearTimeout(this.#gathering);
    clearTimeout(this.#asking);
    this.#send = undefined;
  }

  #gathered(): void {
    if (this.#send === undefined || this.#full) return;
    if (this.#keys.size + this.#users.size >= SIGHTINGS_PER_MESSAGE) {
      this.flush();
      return;
    }
    this.#gathering ??= setTimeout(() => this.flush(), this.#gatherMs).unref();
  }

  #ask(): void {
    this.#asking = undefined;
    if (this.#send === undefined || this.#full || this.#wanted.size === 0) return;
    const requests = [...this.#wanted].map(([provider, kid]) => ({ provider, kid }));
    this.#wanted.clear();
    this.#full = !this.#send({ type: 'key-request', requests });
    this.#asking = setTimeout(() => this.#ask(), KEY_REQUEST_PAUSE_MS).unref();
  }
}

/** Takes the first ones out, until they weigh as much as one message holds. */
function takeFrom<Value>(map: Map<string, Value>, weight: (value: Value) => number): [string, Value][] {
  const taken: [string, Value][] = [];
  let sum = 0;
  for (const [key, value] of map) {
    sum += weight(value);
    if (sum > SIGHTINGS_PER_MESSAGE && taken.length > 0) break;
    map.delete(key);
    taken.push([key, value]);
  }
  return taken;
}

function weightOfUser({ groups }: SeenUser): number {
  return 1 + Math.floor(groups.length / 8);
}
