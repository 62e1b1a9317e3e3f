import pg from 'pg';

const PROBE_TIMEOUT_MS = 3_000;

/**
 * Asks a Postgres for its version, without touching any table.
 *
 * @throws whatever pg throws where it does not answer
 */
export async function probePostgres(url: string): Promise<string> {
  const client = new pg.Client({
    connectionString: url,
    application_name: 'limen doctor',
    connectionTimeoutMillis: PROBE_TIMEOUT_MS,
    query_timeout: PROBE_TIMEOUT_MS,
  });
  // A connection that breaks later is reported by the query that waits for it.
  client.on('error', () => undefined);
  try {
    await client.connect();
    const { rows } = await client.query<{ server_version: string }>('show server_version');
    return rows[0]?.server_version ?? 'unknown';
  } finally {
    await client.end().catch(() => undefined);
  }
}
