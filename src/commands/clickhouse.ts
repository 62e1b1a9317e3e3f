import { join } from 'node:path';
import type { Settings } from '../config/env.ts';
import { startClickHouseHost } from '../store/clickhouse/host.ts';
import { createLogger } from '../telemetry/logger.ts';
import { announceReady, stopWhenAsked } from '../up/child-process.ts';
import { StartError } from '../up/start-error.ts';

const STOP_GRACE_MS = 12_000;

/** `limen clickhouse`: the embedded engine behind ClickHouse's HTTP interface. Resolves when it serves. */
export async function clickhouse(settings: Settings): Promise<undefined> {
  if (settings.clickhouseUrl === undefined) {
    throw new StartError(
      'LIMEN_CLICKHOUSE_URL has to say where to listen: http://user:password@127.0.0.1:8123',
    );
  }
  const host = await startClickHouseHost({
    folder: join(settings.data, 'clickhouse'),
    url: settings.clickhouseUrl,
    logger: createLogger('clickhouse', settings.logLevel),
  });
  stopWhenAsked(() => host.close(), STOP_GRACE_MS);
  announceReady();
  return undefined;
}
