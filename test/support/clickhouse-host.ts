/** A process of its own that hosts the engine, as `limen clickhouse` does. Arguments: data folder, URL. */
import { startClickHouseHost } from '../../src/store/clickhouse/host.ts';
import { createLogger } from '../../src/telemetry/logger.ts';
import { stopWhenAsked } from '../../src/up/child-process.ts';

const [folder = '', url = ''] = process.argv.slice(2);
const host = await startClickHouseHost({ folder, url, logger: createLogger('clickhouse', 'warn') });
process.send?.({ type: 'ready', url: host.url });
stopWhenAsked(() => host.close(), 10_000);
