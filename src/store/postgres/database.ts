import { join } from 'node:path';
import { sql } from 'drizzle-orm';
import { drizzle, type NodePgDatabase } from 'drizzle-orm/node-postgres';
import { migrate } from 'drizzle-orm/node-postgres/migrator';
import pg from 'pg';
import * as schema from './schema/index.ts';

export type Database = NodePgDatabase<typeof schema>;

/** What a transaction gives its work. */
export type Transaction = Parameters<Parameters<Database['transaction']>[0]>[0];

/** Any number that nothing else of ours locks: the migrations of one installation wait for each other. */
const MIGRATION_LOCK = 7_236_451;

/** A migration that waits longer than this for another starter has met one that hangs. */
const MIGRATION_LOCK_TIMEOUT_MS = 60_000;

const CONNECT_TIMEOUT_MS = 5_000;

/** No query of ours comes near it; without a bound a lost network would hold a request for ever. */
const QUERY_TIMEOUT_MS = 30_000;

export interface PostgresConnection {
  readonly database: Database;
  readonly url: string;
  /** Answers within the time that a query may take, or rejects. */
  check(): Promise<{ readonly version: string }>;
  close(): Promise<void>;
}

/**
 * Connects to Postgres and brings its tables up to date. Several starters at once are safe: one migrates, the
 * others wait and find it done.
 *
 * @param url `postgres://…`, also with `?host=` and a folder of Unix sockets
 * @param onError told of connections that break while idle; the next query opens new ones
 * @throws whatever pg throws where the server cannot be reached
 */
export async function openPostgres(
  url: string,
  onError: (error: Error) => void,
): Promise<PostgresConnection> {
  await migrateDatabase(url);
  const pool = new pg.Pool({
    connectionString: url,
    max: 10,
    application_name: 'limen',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
    query_timeout: QUERY_TIMEOUT_MS,
    idleTimeoutMillis: 60_000,
  });
  pool.on('error', onError);
  const database = drizzle(pool, { schema, casing: 'snake_case' });
  return {
    database,
    url,
    async check() {
      const { rows } = await database.execute<{ server_version: string }>(sql`show server_version`);
      return { version: rows[0]?.server_version ?? 'unknown' };
    },
    close: () => pool.end(),
  };
}

/** Applies what is missing of the migrations, on a connection of its own, because the lock belongs to it. */
export async function migrateDatabase(url: string): Promise<void> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'limen migrations',
    connectionTimeoutMillis: CONNECT_TIMEOUT_MS,
  });
  await client.connect();
  try {
    await client.query(`set lock_timeout = ${MIGRATION_LOCK_TIMEOUT_MS}`);
    await client.query('select pg_advisory_lock($1)', [MIGRATION_LOCK]);
    await client.query('set lock_timeout = 0');
    await migrate(drizzle(client), { migrationsFolder: join(import.meta.dirname, 'migrations') });
  } finally {
    // The end of the connection gives the lock back.
    await client.end();
  }
}
