import { connectRedis, redisReady } from '../../../src/store/redis/connection.ts';
import { RedisIntentBook } from '../../../src/store/redis/intent-book.ts';
import { createLogger } from '../../../src/telemetry/logger.ts';
import type { Row, TestGateway } from '../gateway.ts';
import { eventually } from '../running-envoy.ts';

/** Intents that are open and rows that wait, in the gateway's Redis. */
export async function backlog(gateway: TestGateway): Promise<{ intents: number; rows: number }> {
  const redis = connectRedis({
    url: gateway.state().endpoints.redisUrl,
    logger: createLogger('test', 'silent'),
    commandTimeoutMs: 5000,
  });
  try {
    await redisReady(redis, 10_000);
    return { ...(await new RedisIntentBook(redis).backlog()) };
  } finally {
    redis.disconnect();
  }
}

/** Resolves once nothing is open and nothing waits any more. */
export async function settled(gateway: TestGateway, withinMs = 60_000): Promise<void> {
  let last = { intents: -1, rows: -1 };
  try {
    await eventually(async () => {
      last = await backlog(gateway);
      return last.intents === 0 && last.rows === 0 ? true : undefined;
    }, withinMs);
  } catch (error) {
    throw new Error(`the ledger is not settled: ${JSON.stringify(last)}`, { cause: error });
  }
}

/** The rows of one user, each request once. */
export function rowsOf(gateway: TestGateway, user: string): Promise<readonly Row[]> {
  return gateway.query(
    `SELECT *, toFloat64(output_tokens) AS output, toFloat64(input_tokens) AS input FROM gateway_log WHERE user = '${user}' ORDER BY time, request_id`,
  );
}

/** How often each value of a column stands in the rows. */
export function countBy(rows: readonly Row[], column: string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const row of rows) {
    const value = String(row[column]);
    counts[value] = (counts[value] ?? 0) + 1;
  }
  return counts;
}
