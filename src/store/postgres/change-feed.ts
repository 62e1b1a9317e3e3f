import pg from 'pg';
import { z } from 'zod';
import type { StoreChange } from '../../core/configuration-store.ts';
import { CHANGES_CHANNEL } from './record-changes.ts';

const changeSchema = z.object({
  revision: z.number().int(),
  entity: z.enum(['resource', 'virtual_key', 'user', 'revocation', 'unknown']),
  id: z.string().optional(),
});

/** Heals whatever a lost notification left behind. */
const DEFAULT_POLL_MS = 5_000;

const FIRST_RECONNECT_MS = 250;
const LONGEST_RECONNECT_MS = 5_000;
const CONNECT_TIMEOUT_MS = 5_000;

export interface ChangeFeed {
  /** Resolves once no listener will be called any more. */
  close(): Promise<void>;
}

export interface ChangeFeedOptions {
  readonly url: string;
  /** Revision that the caller has read; changes after it are reported. */
  readonly revision: number;
  /** Told each change in order, at least once; never two at a time. */
  readonly onChange: (change: StoreChange) => void | Promise<void>;
  /** Told that the connection is lost (it is made again) or that `onChange` threw. */
  readonly onError: (error: unknown) => void;
  readonly pollMs?: number;
}

/**
 * Listens for the changes of every control plane on one database: at once by LISTEN, and by a look at the
 * change counter every five seconds for what was missed. Goes on by itself after Postgres was away.
 */
export function followChanges(options: ChangeFeedOptions): ChangeFeed {
  const { url, onChange, onError, pollMs = DEFAULT_POLL_MS } = options;
  let seen = options.revision;
  let closed = false;
  /** One transaction may tell of several changes, of which the last ones may not have arrived. */
  let brokeOff = false;
  let client: pg.Client | undefined;
  let reconnect: NodeJS.Timeout | undefined;
  let reconnectMs = FIRST_RECONNECT_MS;
  let work: Promise<void> = Promise.resolve();

  const enqueue = (step: () => Promise<void>): void => {
    work = runAfter(work, async () => {
      if (!closed) await step().catch(onError);
    });
  };

  const deliver = async (change: StoreChange): Promise<void> => {
    // A revision that was made before the caller read everything, or that the poll reported already.
    if (change.revision < seen) return;
    const missed = change.revision > seen + 1;
    seen = change.revision;
    await onChange(missed ? { revision: change.revision, entity: 'unknown' } : change);
  };

  const poll = async (): Promise<void> => {
    if (client === undefined) return;
    const result = await client.query<{ value: string }>('select value from revision');
    const revision = Number(result.rows[0]?.value ?? 0);
    // It counts from an earlier number where the database was put back from a backup.
    if (revision === seen && !brokeOff) return;
    brokeOff = false;
    seen = revision;
    await onChange({ revision, entity: 'unknown' });
  };

  const lost = (error: unknown, lostClient: pg.Client): void => {
    if (closed || client !== lostClient) return;
    client = undefined;
    brokeOff = true;
    onError(error);
    void endQuietly(lostClient);
    reconnect = setTimeout(() => enqueue(connect), reconnectMs);
    reconnectMs = Math.min(reconnectMs * 2, LONGEST_RECONNECT_MS);
  };

  const connect = async (): Promise<void> => {
    const fresh = new pg.Client({
      connectionString: url,
      application_name: 'limen changes',
      connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
      query_timeout: CONNECT_TIMEOUT_MS,
      keepAlive: true,
    });
    client = fresh;
    fresh.on('error', (error) => lost(error, fresh));
    fresh.on('end', () => lost(new Error('The connection to Postgres ended.'), fresh));
    fresh.on('notification', ({ payload }) => {
      const change = parseChange(payload);
      if (change) enqueue(() => deliver(change));
    });
    try {
      await fresh.connect();
      await fresh.query(`listen ${CHANGES_CHANNEL}`);
      reconnectMs = FIRST_RECONNECT_MS;
      // Whatever happened before the server listened for us.
      await poll();
    } catch (error) {
      lost(error, fresh);
    }
  };

  const timer = setInterval(() => {
    enqueue(async () => {
      const asked = client;
      if (!asked) return;
      await poll().catch((error: unknown) => lost(error, asked));
    });
  }, pollMs);
  timer.unref();
  enqueue(connect);

  return {
    async close() {
      closed = true;
      clearInterval(timer);
      clearTimeout(reconnect);
      const open = client;
      client = undefined;
      if (open) await endQuietly(open);
      await work;
    },
  };
}

async function runAfter(previous: Promise<void>, step: () => Promise<void>): Promise<void> {
  await previous;
  await step();
}

async function endQuietly(client: pg.Client): Promise<void> {
  // The connection is broken or about to be thrown away: that it cannot be ended in style is no news.
  await client.end().catch(() => undefined);
}

function parseChange(payload: string | undefined): StoreChange | undefined {
  try {
    const parsed = changeSchema.safeParse(JSON.parse(payload ?? ''));
    return parsed.success ? parsed.data : undefined;
  } catch {
    return undefined;
  }
}
