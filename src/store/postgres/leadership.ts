import pg from 'pg';

export interface LeadershipOptions {
  readonly url: string;
  /** Number of the advisory lock: the same on all that compete. */
  readonly lock: number;
  /** Told that the connection is lost; it is made again. */
  readonly onError: (error: unknown) => void;
  /** How often it asks for the lock, or whether it still has it; 5 seconds unless told otherwise. */
  readonly askMs?: number;
}

/** At most one of all control planes on a database leads. */
export interface Leadership {
  /**
   * Which time it leads, counted from 1, or undefined while it does not. As far as it knows: one that has lost its
   * network learns of it within `askMs` and the time of a query.
   */
  readonly term: number | undefined;
  /** Gives the lock back. */
  close(): Promise<void>;
}

const ASK_MS = 5000;
const TIMEOUT_MS = 5000;

/**
 * Competes for a session's advisory lock on a connection of its own: Postgres gives it to another as soon as that
 * connection is gone, whether its process died or its machine (there after TCP's keepalive, which is set to seconds).
 * What is done under it must be harmless twice: a leader that is cut off may be at it still while the next one begins.
 */
export function competeForLeadership(options: LeadershipOptions): Leadership {
  const { url, lock, onError, askMs = ASK_MS } = options;
  let client: pg.Client | undefined;
  let leads = false;
  let terms = 0;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;

  const lose = async (lost: pg.Client, error: unknown): Promise<void> => {
    if (client !== lost) return;
    client = undefined;
    leads = false;
    if (!closed) onError(error);
    // The connection is broken or about to be thrown away: that it cannot be ended in style is no news.
    await lost.end().catch(() => undefined);
  };

  const connect = async (): Promise<pg.Client> => {
    const fresh = new pg.Client({
      connectionString: url,
      application_name: 'limen jobs',
      connectionTimeoutMillis: TIMEOUT_MS,
      query_timeout: TIMEOUT_MS,
      keepAlive: true,
      options: '-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3',
    });
    client = fresh;
    fresh.on('error', (error) => void lose(fresh, error));
    fresh.on('end', () => void lose(fresh, new Error('The connection to Postgres ended.')));
    await fresh.connect();
    return fresh;
  };

  const ask = async (): Promise<void> => {
    try {
      const asked = client ?? (await connect());
      // A lock that the session has is given to it once more, so it is asked for only where it has none.
      const { rows } = await asked.query<{ leads: boolean }>(
        leads ? 'select true as leads' : 'select pg_try_advisory_lock($1) as leads',
        leads ? [] : [lock],
      );
      if (client !== asked) return;
      const won = rows[0]?.leads === true;
      if (won && !leads) terms += 1;
      leads = won;
    } catch (error) {
      if (client === undefined) onError(error);
      else await lose(client, error);
    }
  };

  const askAndAgain = async (): Promise<void> => {
    await ask();
    if (closed) return;
    const pause = askMs * (0.9 + Math.random() / 5);
    timer = setTimeout(() => {
      work = askAndAgain();
    }, pause).unref();
  };

  let work = askAndAgain();
  return {
    get term() {
      return leads ? terms : undefined;
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      await work;
      leads = false;
      await client?.end().catch(() => undefined);
    },
  };
}
