import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  hkdfSync,
  randomBytes,
  timingSafeEqual,
} from 'node:crypto';
import { z } from 'zod';
import type { SessionBook } from '../core/sessions.ts';
import { AdminError } from './errors.ts';

/** The longest session, and the longest without a request. */
export const SESSION_LIFE_MS = 12 * 3_600_000;
export const SESSION_IDLE_MS = 3_600_000;
/** A session's idle time starts afresh at most this often: not every request writes. */
const EXTEND_EVERY_MS = 60_000;

const ID_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** A session as its owner gets it, once. */
export interface NewSession {
  /** Goes into the cookie; only its SHA-256 is stored. */
  readonly id: string;
  readonly csrfToken: string;
  /** Unix time in milliseconds. */
  readonly expiresAt: number;
}

/** A session that is good. */
export interface OpenSession {
  readonly credential: string;
  readonly csrfToken: string;
  readonly expiresAt: number;
}

const storedSchema = z.object({
  /** The credential that the session stands for, sealed by a key that is made of the session's id. */
  sealed: z.string(),
  address: z.string(),
  expiresAt: z.number(),
  extendedAt: z.number(),
});

/**
 * Sessions of the admin API. What is stored is of no use without the cookie: the credential in it is sealed by a key that
 * only the cookie gives. So each request verifies that credential afresh, and whatever ends it (revocation, expiry, another
 * role) ends or changes the session at once.
 */
export class Sessions {
  readonly #book: SessionBook;
  readonly #now: () => number;

  constructor(book: SessionBook, now: () => number) {
    this.#book = reachable(book);
    this.#now = now;
  }

  /** @param address of the client; a request from another one is refused */
  async create(credential: string, address: string): Promise<NewSession> {
    const id = randomBytes(ID_BYTES).toString('base64url');
    const expiresAt = this.#now() + SESSION_LIFE_MS;
    const stored = { sealed: seal(id, credential), address, expiresAt, extendedAt: this.#now() };
    await this.#book.put(nameOf(id), JSON.stringify(stored), SESSION_IDLE_MS);
    return { id, csrfToken: csrfTokenOf(id), expiresAt };
  }

  /** @throws AdminError unauthorized, without telling why */
  async open(id: string, address: string): Promise<OpenSession> {
    const name = nameOf(id);
    const text = await this.#book.get(name);
    const stored = text === undefined ? undefined : storedSchema.parse(JSON.parse(text));
    if (stored === undefined || stored.address !== address || stored.expiresAt <= this.#now()) {
      throw new AdminError('unauthorized', 'The session has ended: sign in again.');
    }
    await this.#extend(name, stored);
    return {
      credential: unseal(id, stored.sealed),
      csrfToken: csrfTokenOf(id),
      expiresAt: stored.expiresAt,
    };
  }

  async end(id: string): Promise<void> {
    await this.#book.remove(nameOf(id));
  }

  async #extend(name: string, stored: z.infer<typeof storedSchema>): Promise<void> {
    const now = this.#now();
    if (now - stored.extendedAt < EXTEND_EVERY_MS) return;
    const ttlMs = Math.min(SESSION_IDLE_MS, stored.expiresAt - now);
    await this.#book.extend(name, JSON.stringify({ ...stored, extendedAt: now }), ttlMs);
  }
}

/** A book whose failures say what the person who asks can do about them. */
function reachable(book: SessionBook): SessionBook {
  const asked = async <T>(answer: Promise<T>): Promise<T> => {
    try {
      return await answer;
    } catch {
      throw new AdminError('unavailable', 'Sessions cannot be looked up at this moment: Redis is away.');
    }
  };
  return {
    put: (name, value, ttlMs) => asked(book.put(name, value, ttlMs)),
    get: (name) => asked(book.get(name)),
    extend: (name, value, ttlMs) => asked(book.extend(name, value, ttlMs)),
    remove: (name) => asked(book.remove(name)),
  };
}

/** Whether a state-changing request by cookie carries the session's token, which no other site can read. */
export function isCsrfToken(given: string | undefined, wanted: string): boolean {
  const hash = (text: string) => createHash('sha256').update(text).digest();
  return given !== undefined && timingSafeEqual(hash(given), hash(wanted));
}

function nameOf(id: string): string {
  return createHash('sha256').update(id).digest('hex');
}

function csrfTokenOf(id: string): string {
  return createHmac('sha256', id).update('limen csrf').digest('base64url');
}

function keyOf(id: string): Buffer {
  return Buffer.from(hkdfSync('sha256', id, '', 'limen session', 32));
}

function seal(id: string, text: string): string {
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', keyOf(id), nonce);
  const sealed = [nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()];
  return Buffer.concat(sealed).toString('base64url');
}

function unseal(id: string, sealed: string): string {
  const bytes = Buffer.from(sealed, 'base64url');
  const decipher = createDecipheriv('aes-256-gcm', keyOf(id), bytes.subarray(0, NONCE_BYTES), {
    authTagLength: TAG_BYTES,
  });
  decipher.setAuthTag(bytes.subarray(-TAG_BYTES));
  const opened = [decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()];
  return Buffer.concat(opened).toString('utf8');
}
