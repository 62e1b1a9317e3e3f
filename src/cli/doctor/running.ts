import { flagOf, variableOf, type Settings } from '../../config/env.ts';
import { formatIssue } from '../../config/load/issue.ts';
import { probeGateway } from '../../up/gateway-probe.ts';
import { requireFreePorts } from '../../up/ports.ts';
import type { UpState } from '../../up/up-state.ts';
import { createAdminClient, NotRunningError } from '../admin-client.ts';
import { CliError } from '../context.ts';
import { readResponse, statusSchema, type ShownStatus } from '../responses.ts';
import { off, ok, problem, reason, warning, type Check } from './check.ts';

/** The processes of the all-in-one, as their supervisor last saw them. */
export function checkProcesses(state: UpState | undefined): Check[] {
  return (state?.children ?? []).map(({ name, state: now, pid, restarts, lastExit }) => {
    const again = restarts > 0 ? `, started again ${restarts} times (last: ${lastExit ?? 'unknown'})` : '';
    const label = `process ${name}`;
    if (now === 'ready') return (restarts > 0 ? warning : ok)(label, `runs as ${pid}${again}`);
    return problem(label, `${now}${again}`, `its log: logs/${name}.log in the data folder`);
  });
}

/** Whether the ports can be had; only worth asking where nothing of ours has them. */
export async function checkPorts(settings: Settings): Promise<Check[]> {
  const wanted = [
    { key: 'gatewayPort', address: settings.gatewayAddress },
    { key: 'consolePort', address: settings.consoleAddress },
  ] as const;
  return Promise.all(
    wanted.map(async ({ key, address }) => {
      const port = settings[key];
      try {
        await requireFreePorts([{ port, address, variable: variableOf(key), flag: flagOf(key) }]);
        return ok(`port ${port}`, 'free');
      } catch (error) {
        return problem(`port ${port}`, error instanceof Error ? error.message : reason(error));
      }
    }),
  );
}

/** Whether the gateway's own health route answers. */
export async function checkGateway(settings: Settings): Promise<Check> {
  const host = ['0.0.0.0', '::'].includes(settings.gatewayAddress) ? '127.0.0.1' : settings.gatewayAddress;
  const at = `${host.includes(':') ? `[${host}]` : host}:${settings.gatewayPort}`;
  const probe = await probeGateway(host, settings.gatewayPort);
  if (probe.state === 'wants a certificate') return ok('gateway', `asks clients for a certificate at ${at}`);
  if (probe.state === 'silent')
    return problem('gateway', `does not answer at ${at} (${reason(probe.error)})`);
  const origin = `${probe.scheme}://${at}`;
  if (probe.status === 200) return ok('gateway', `ready at ${origin}`);
  return problem(
    'gateway',
    `answers at ${origin}, but is not ready (status ${probe.status})`,
    'the lines below say what is missing',
  );
}

/** What the control plane says; with `off` where there is none. */
export async function checkControlPlane(
  settings: Settings,
): Promise<{ checks: Check[]; isRunning: boolean }> {
  try {
    const status = readResponse(
      statusSchema,
      await createAdminClient(settings).call('GET', '/api/v1/status'),
    );
    return { checks: statusChecks(status), isRunning: true };
  } catch (error) {
    if (error instanceof NotRunningError)
      return { checks: [off('control', error.message)], isRunning: false };
    if (error instanceof CliError) return { checks: [problem('control', error.message)], isRunning: true };
    throw error;
  }
}

function statusChecks(status: ShownStatus): Check[] {
  const { version, snapshot, configuration, providers, identityProviders, envoys, workers, stores } = status;
  return [
    ok('control', `Limen ${version} on Node ${status.node.replace(/^v/, '')}`),
    snapshot
      ? ok('snapshot', `${snapshot.version}: ${snapshot.providers} providers, ${snapshot.models} models`)
      : problem('snapshot', 'there is none yet', 'correct the configuration'),
    ...configuration.issues.map((issue) =>
      problem('configuration', formatIssue(issue), 'the last good configuration stays in force'),
    ),
    ...configuration.warnings.map((issue) => warning('configuration', formatIssue(issue))),
    ...providers.map(providerCheck),
    ...identityProviders.flatMap((entry) => [identityProviderCheck(entry), ...promotionChecks(entry)]),
    ...envoyChecks(envoys),
    ...workerChecks(workers, snapshot?.version),
    ...stores.map(({ name, healthy, version: storeVersion, problem: what }) =>
      healthy
        ? ok(`store ${name}`, storeVersion ?? 'answers')
        : problem(`store ${name}`, what ?? 'does not answer the control plane'),
    ),
  ];
}

function providerCheck(provider: ShownStatus['providers'][number]): Check {
  const { name, type, source, credential, expiresAt, problem: why } = provider;
  const label = `provider ${name}`;
  const lead = `${type}, from the ${source}`;
  const until = expiresAt === undefined ? '' : ` until ${new Date(expiresAt).toISOString()}`;
  if (why !== undefined) {
    const fix = 'correct the account, its token_uri or the way there; it is tried again by itself';
    return credential === 'ready'
      ? warning(label, `${lead}: its access token holds${until}, but no new one is to be had: ${why}`, fix)
      : problem(label, `${lead}: no access token is to be had: ${why}`, fix);
  }
  if (credential === 'missing')
    return problem(
      label,
      `${lead}: its credential is missing`,
      'set its variable where the control plane runs, or correct its credential',
    );
  if (credential === 'none') return ok(label, `${lead}, no credential`);
  return ok(label, `${lead}, ${expiresAt === undefined ? 'credential ready' : `access token${until}`}`);
}

/** How the clients fare that register themselves at an identity provider, where they are promoted. */
function promotionChecks({
  name,
  enabled,
  clientPromotion,
}: ShownStatus['identityProviders'][number]): Check[] {
  if (!enabled || clientPromotion === undefined) return [];
  const { ready, deliveredAt, waiting, promoted, refused, failed, problem: why } = clientPromotion;
  const label = `clients of ${name}`;
  if (!ready)
    return [
      problem(
        label,
        'none is promoted: a secret for it is missing',
        'set its variables where the control plane runs, or correct clientSecret and webhookSecret',
      ),
    ];
  const log =
    deliveredAt === undefined
      ? 'its log has not come since the start'
      : `its log came at ${new Date(deliveredAt).toISOString()}`;
  const counts = `${log}, ${promoted} promoted, ${refused} refused, ${failed} given up, ${waiting} waiting`;
  return why === undefined
    ? [ok(label, counts)]
    : [
        warning(
          label,
          `${counts}: ${why}`,
          'correct the gateway’s client there, or the way there; what waits is tried again by itself',
        ),
      ];
}

function identityProviderCheck(entry: ShownStatus['identityProviders'][number]): Check {
  const { name, issuer, source, enabled, keySource, reachable, problem: why, keys, fetchedAt } = entry;
  const label = `identity provider ${name}`;
  const lead = `${issuer}, from the ${source}`;
  if (!enabled) return off(label, `${lead}: switched off, its tokens are refused`);
  const fix =
    keySource === 'sharedSecret'
      ? 'set its variable where the control plane runs, or correct its sharedSecret'
      : 'correct its issuer or jwksUri, or the way there (LIMEN_ALLOWED_FETCH_RANGES for private addresses); it is tried again by itself';
  if (keys.length === 0) {
    if (why !== undefined) return problem(label, `${lead}: its tokens are refused: ${why}`, fix);
    return warning(
      label,
      `${lead}: its keys are on their way`,
      'wait a second; if it stays, look at the log',
    );
  }
  const known = `${keys.length} ${keys.length === 1 ? 'key' : 'keys'}`;
  const since = fetchedAt === undefined ? '' : ` of ${new Date(fetchedAt).toISOString()}`;
  if (reachable === false && why !== undefined)
    return warning(label, `${lead}: ${known}${since} are in use, but no new ones are to be had: ${why}`, fix);
  return ok(label, `${lead}, ${known}${since}`);
}

function envoyChecks(envoys: ShownStatus['envoys']): Check[] {
  if (envoys.length === 0)
    return [
      problem(
        'envoy connection',
        'no Envoy is connected to the control plane',
        'is Envoy running? its log: logs/envoy.log in the data folder',
      ),
    ];
  return envoys.map(({ node, kinds }) => {
    const refused = Object.entries(kinds).filter(([, { state }]) => state === 'refused');
    if (refused.length === 0) return ok(`envoy ${node}`, 'has acknowledged everything it was sent');
    const why = refused
      .map(([kind, { lastNack }]) => `${kind}: ${lastNack?.message ?? 'no reason given'}`)
      .join('; ');
    return problem(`envoy ${node}`, `refused ${why}`, 'what it had before stays in force');
  });
}

function workerChecks(workers: ShownStatus['workers'], version: string | undefined): Check[] {
  if (workers.length === 0)
    return [
      problem('workers', 'no worker is connected to the control plane', 'is `limen processor` running?'),
    ];
  const behind = workers.filter(({ snapshot }) => snapshot !== version).map(({ worker }) => worker);
  if (behind.length === 0) return [ok('workers', `${workers.length}, all with the present snapshot`)];
  return [
    warning(
      'workers',
      `${behind.join(', ')} of ${workers.length} without the present snapshot`,
      'wait a second; if it stays, look at their logs',
    ),
  ];
}
