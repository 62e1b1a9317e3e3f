import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { LimenError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import type { SessionBook } from '../core/sessions.ts';
import type { Snapshot } from '../core/snapshot.ts';
import { Attempts } from './attempts.ts';
import { ADMIN_TOKEN_CALLER, callerOf, type Caller } from './caller.ts';
import { AdminError } from './errors.ts';
import { isCsrfToken, Sessions, type NewSession } from './sessions.ts';
import { createTokenCheck } from './token.ts';

export interface AuthenticationOptions {
  /** Whoever has it may do everything. */
  readonly token: string;
  /**
   * Who has this virtual key or token, by the rules of the gateway itself; absent: the admin token alone is taken.
   *
   * Throws, or rejects with, a LimenError for a credential that is not good.
   */
  readonly identify?:
    ((credential: string, snapshot: Snapshot) => Principal | Promise<Principal>) | undefined;
  /** In force at present; nothing before the first. */
  readonly snapshot: () => Snapshot | undefined;
  /** Absent: there are no sessions. */
  readonly sessions?: SessionBook | undefined;
  /** Unix time in milliseconds. */
  readonly now: () => number;
}

/** What of a request says who asks. */
export interface Asking {
  readonly method: string;
  readonly headers: IncomingHttpHeaders;
  /** Of the client; nothing for who asks at the control plane's own socket, which only its user may open. */
  readonly address: string | undefined;
}

/** A session as its owner sees it. */
export interface SessionView {
  readonly caller: Caller;
  readonly csrfToken: string;
  readonly expiresAt: number;
}

/** Who asks the admin API. */
export interface Authentication {
  /** @throws AdminError unauthorized, forbidden, too_many_requests, unavailable */
  authenticate(asking: Asking): Promise<Caller>;
  /**
   * Begins a session for who asks by bearer.
   *
   * @throws AdminError as above, invalid_request where the request carries no bearer
   */
  signIn(asking: Asking): Promise<{ readonly caller: Caller; readonly session: NewSession }>;
  /** The session of this request's cookie. @throws AdminError as above */
  session(asking: Asking): Promise<SessionView>;
  /** Ends that session. @throws AdminError as above */
  signOut(asking: Asking): Promise<void>;
}

/** As browsers send it over plain HTTP, and with the prefix that binds it to this host over TLS. */
export const SESSION_COOKIES = { plain: 'limen-session', secure: '__Host-limen-session' } as const;
/** Carries the session's token with every request by cookie that changes something. */
export const CSRF_HEADER = 'x-limen-csrf';

const READING = new Set(['GET', 'HEAD', 'OPTIONS']);
const LONGEST_CREDENTIAL = 16_384;
const WRONG_CREDENTIALS = { most: 20, windowMs: 60_000, mostAddresses: 10_000 } as const;
/** Credentials that were good lately, each with its address: nobody else's wrong ones keep them out. */
const MOST_KNOWN = 10_000;
const SESSION_ID = /^[A-Za-z0-9_-]{43}$/;

export function createAuthentication(options: AuthenticationOptions): Authentication {
  const isAdminToken = createTokenCheck(options.token);
  const wrong = () => new Attempts({ ...WRONG_CREDENTIALS, now: options.now });
  // Apart: a page that goes on asking with a session that has ended must not stop anybody from signing in.
  const attemptsBy = { bearer: wrong(), cookie: wrong() };
  const known = new Known();
  const sessions = options.sessions && new Sessions(options.sessions, options.now);

  /**
   * Runs a check; one that fails counts against the address, and too many close it for a while: but not to a credential
   * that was good there before, so that nobody who shares an address (a proxy, an office) can keep others out.
   */
  const guarded = async <T>(
    by: keyof typeof attemptsBy,
    address: string | undefined,
    credential: string,
    check: () => Promise<T>,
  ): Promise<T> => {
    if (address === undefined) return check();
    const attempts = attemptsBy[by];
    const wait = attempts.wait(address);
    if (wait > 0 && !known.has(address, credential)) {
      throw new AdminError(
        'too_many_requests',
        `Too many wrong credentials came from this address: try again in ${wait} seconds.`,
        { retryAfterSeconds: wait },
      );
    }
    try {
      const result = await check();
      known.add(address, credential);
      return result;
    } catch (error) {
      if (error instanceof AdminError && error.code === 'unauthorized') {
        known.remove(address, credential);
        attempts.count(address);
      }
      throw error;
    }
  };

  const callerWith = async (credential: string): Promise<Caller> => {
    if (isAdminToken(`Bearer ${credential}`)) return ADMIN_TOKEN_CALLER;
    const { identify } = options;
    const snapshot = options.snapshot();
    if (identify === undefined || snapshot === undefined) throw refused();
    try {
      return callerOf(await identify(credential, snapshot), snapshot);
    } catch (error) {
      throw error instanceof LimenError ? asAdminError(error) : error;
    }
  };

  const byCookie = async ({ method, headers, address }: Asking, id: string): Promise<SessionView> => {
    if (sessions === undefined) throw refused();
    const { credential, csrfToken, expiresAt } = await sessions.open(id, address ?? '');
    const caller = await callerWith(credential);
    if (!READING.has(method) && !isCsrfToken(single(headers[CSRF_HEADER]), csrfToken)) {
      throw new AdminError(
        'forbidden',
        `A change by cookie needs the header ${CSRF_HEADER} with the token that the session's answer holds.`,
      );
    }
    return { caller, csrfToken, expiresAt };
  };

  return {
    authenticate: async (asking) => {
      const { headers, address } = asking;
      const credential = bearerOf(headers);
      if (credential !== undefined)
        return guarded('bearer', address, credential, () => callerWith(credential));
      // Without any there is nothing to guess, and any page that a browser shows can make it ask like that.
      const id = sessionIdOf(headers);
      if (id === undefined) throw refused();
      return (await guarded('cookie', address, id, () => byCookie(asking, id))).caller;
    },

    signIn: async (asking) => {
      const { headers, address } = asking;
      const credential = bearerOf(headers);
      if (credential === undefined)
        throw new AdminError('invalid_request', 'A session begins with a bearer credential.');
      if (sessions === undefined)
        throw new AdminError('unavailable', 'Sessions are not to be had on this gateway.');
      const caller = await guarded('bearer', address, credential, () => callerWith(credential));
      const session = await sessions.create(credential, address ?? '');
      if (address !== undefined) known.add(address, session.id);
      return { caller, session };
    },

    session: async (asking) => {
      const id = requiredSessionId(asking);
      return guarded('cookie', asking.address, id, () => byCookie(asking, id));
    },

    signOut: async (asking) => {
      const id = requiredSessionId(asking);
      await guarded('cookie', asking.address, id, () => byCookie(asking, id));
      await sessions?.end(id);
    },
  };
}

/** What was good at which address, as hashes; of more than it holds, what was used first is forgotten. */
class Known {
  readonly #names = new Set<string>();

  has(address: string, credential: string): boolean {
    return this.#names.has(nameOf(address, credential));
  }

  add(address: string, credential: string): void {
    const name = nameOf(address, credential);
    this.#names.delete(name);
    this.#names.add(name);
    const [oldest] = this.#names;
    if (this.#names.size > MOST_KNOWN && oldest !== undefined) this.#names.delete(oldest);
  }

  remove(address: string, credential: string): void {
    this.#names.delete(nameOf(address, credential));
  }
}

function nameOf(address: string, credential: string): string {
  return createHash('sha256').update(`${address}\n${credential}`).digest('base64');
}

function refused(): AdminError {
  return new AdminError('unauthorized', 'The credential is missing or wrong.');
}

function requiredSessionId({ headers }: Asking): string {
  const id = sessionIdOf(headers);
  if (id === undefined) throw new AdminError('unauthorized', 'This request carries no session.');
  return id;
}

/** What the gateway says of a credential, in the words of the admin API. */
function asAdminError({ status, message }: LimenError): AdminError {
  if (status === 403) return new AdminError('forbidden', message);
  if (status >= 500) return new AdminError('unavailable', message);
  return refused();
}

function bearerOf({ authorization }: IncomingHttpHeaders): string | undefined {
  if (authorization === undefined) return undefined;
  const credential = /^bearer +(\S+)$/i.exec(authorization.trim())?.[1];
  if (credential === undefined || credential.length > LONGEST_CREDENTIAL) throw refused();
  return credential;
}

/** The session's cookie; one with the prefix, which no other host can have set, counts first. */
function sessionIdOf({ cookie }: IncomingHttpHeaders): string | undefined {
  const pairs = (cookie ?? '').split(';').map((pair) => pair.trim());
  for (const name of [SESSION_COOKIES.secure, SESSION_COOKIES.plain]) {
    const value = pairs.find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1);
    if (value !== undefined && SESSION_ID.test(value)) return value;
  }
  return undefined;
}

function single(header: string | string[] | undefined): string | undefined {
  return typeof header === 'string' ? header : undefined;
}
