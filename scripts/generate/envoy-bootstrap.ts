import { stringify } from 'yaml';
import { readSettings } from '../../src/config/env.ts';
import { endpointsOf } from '../../src/up/endpoints.ts';
import { buildBootstrap } from '../../src/xds/build/bootstrap.ts';
import type { GeneratedFiles } from './run.ts';

/** The sample is for containers, where each part has this data folder and shares its run folder with the others. */
const SAMPLE = { LIMEN_DATA: '/var/lib/limen', LIMEN_CONSOLE_ADDRESS: '0.0.0.0' };

/** Envoy takes no more requests near this much heap; set it below the memory that the container may use. */
const MAX_HEAP_BYTES = 2 * 1024 ** 3;
const MAX_CONNECTIONS = 50_000;

const HEADER = `# What Envoy starts from when nobody starts it for you; docker-compose.yml uses this file.
# Made by scripts/generate/envoy-bootstrap.ts: change it there, then run \`npm run generate\`.
# README.md beside it says what to adapt for another machine.
`;

export function generate(): GeneratedFiles {
  const settings = readSettings(SAMPLE);
  const { envoyAdmin, ads, adminApi } = endpointsOf(settings, '').sockets;
  const bootstrap = buildBootstrap({
    nodeId: 'limen-envoy',
    adminSocket: envoyAdmin,
    adsSocket: ads,
    controlSocket: adminApi,
    consoleAddress: settings.consoleAddress,
    consolePort: settings.consolePort,
    maxHeapBytes: MAX_HEAP_BYTES,
    maxDownstreamConnections: MAX_CONNECTIONS,
  });
  return {
    'envoy/bootstrap.yaml': HEADER + stringify(bootstrap, { lineWidth: 0, aliasDuplicateObjects: false }),
  };
}
