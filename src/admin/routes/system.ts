import { z } from 'zod';
import type { CircuitStatus } from '../../core/ledger.ts';
import { METRICS_CONTENT_TYPE } from '../../telemetry/collect-metrics.ts';
import { statusReportSchema, type StatusSource } from '../contract.ts';
import { AdminError } from '../errors.ts';
import { defineRoute, Reply, type Route } from '../router.ts';
import { createTokenCheck } from '../token.ts';
import { welcome, welcomePage } from '../welcome.ts';

/** Prometheus metrics of all processes, for whoever has the token. */
export interface MetricsSourceOptions {
  readonly token: string;
  readonly collect: () => Promise<string>;
}

const CLEAN_CIRCUIT = { state: 'closed', failures: 0, retryInSeconds: 0 } as const;

/** What the control plane tells of itself. */
export function systemRoutes(status: StatusSource, metrics?: MetricsSourceOptions): readonly Route[] {
  return [
    defineRoute({
      method: 'GET',
      path: '/',
      permission: 'public',
      summary: 'What stands at this address',
      tag: 'system',
      response: z.record(z.string(), z.string()),
      handle: ({ headers }) =>
        headers.accept?.includes('text/html') === true
          ? new Reply(200, undefined, {
              text: welcomePage(status.version),
              headers: { 'content-type': 'text/html; charset=utf-8' },
            })
          : welcome(status.version),
    }),
    defineRoute({
      method: 'GET',
      path: '/health/ready',
      permission: 'public',
      summary: 'Whether there is a configuration with a provider, and a worker that has it',
      tag: 'system',
      response: z.object({ status: z.enum(['ready', 'not ready']) }),
      otherStatuses: { 503: 'Not ready' },
      handle: () => readiness(status),
    }),
    metricsRoute(metrics),
    defineRoute({
      method: 'GET',
      path: '/api/v1/status',
      permission: 'status:read',
      summary: 'State of the gateway: snapshot, configuration, providers, issuers, Envoys, workers, stores',
      tag: 'system',
      response: statusReportSchema,
      handle: () => statusReport(status),
    }),
  ];
}

function readiness(status: StatusSource) {
  const snapshot = status.snapshot();
  const ready =
    snapshot !== undefined &&
    snapshot.providers > 0 &&
    status.workers().some((worker) => worker.snapshot === snapshot.version);
  return new Reply(ready ? 200 : 503, { status: ready ? 'ready' : 'not ready' });
}

/** Stands on the gateway's port too, so that it asks for a token of its own and never for the admin's. */
function metricsRoute(metrics: MetricsSourceOptions | undefined): Route {
  const hasToken = metrics && createTokenCheck(metrics.token);
  return defineRoute({
    method: 'GET',
    path: '/metrics',
    permission: 'public',
    summary: 'Prometheus metrics of all processes, for the metrics token',
    tag: 'system',
    response: z.string(),
    handle: async ({ headers }) => {
      if (metrics === undefined || hasToken === undefined) {
        throw new AdminError('not_found', 'There is nothing at this path.');
      }
      if (!hasToken(headers.authorization)) {
        throw new AdminError('unauthorized', 'The metrics token is missing or wrong.');
      }
      return new Reply(200, undefined, {
        text: await metrics.collect(),
        headers: { 'content-type': METRICS_CONTENT_TYPE },
      });
    },
  });
}

async function statusReport(status: StatusSource) {
  const [stores, circuits] = await Promise.all([status.stores(), status.circuits().catch(() => undefined)]);
  return {
    version: status.version,
    node: process.version,
    startedAt: new Date(status.startedAt).toISOString(),
    snapshot: status.snapshot(),
    configuration: status.configuration(),
    providers: status.providers().map((provider) => ({ ...provider, ...circuitOf(provider.name, circuits) })),
    identityProviders: status.identityProviders(),
    envoys: status.envoys(),
    workers: status.workers(),
    stores,
  };
}

function circuitOf(name: string, circuits: readonly CircuitStatus[] | undefined) {
  if (circuits === undefined) return {};
  const { state, failures, retryInSeconds } =
    circuits.find(({ provider }) => provider === name) ?? CLEAN_CIRCUIT;
  return { circuit: { state, failures, retryInSeconds } };
}
