import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ResourceObject, TestGateway } from '../support/gateway.ts';
import { eventually } from '../support/running-envoy.ts';
import { startSystem, systemResources, type TestSystem } from '../support/system.ts';
import {
  busiestWorker,
  FAULT_PACE_MS,
  failureOf,
  falselyWhole,
  type FaultReport,
  inClientFormat,
  underFault,
} from '../support/system/fault.ts';
import { type FaultPromise, readFaultTable } from '../support/system/fault-table.ts';
import { countBy, rowsOf, settled } from '../support/system/ledger-watch.ts';
import { isGood, type TrafficOutcome } from '../support/system/traffic.ts';
import { trafficKind } from '../support/system/traffic-kinds.ts';

/** How long a stopped process stays stopped: longer than Envoy needs to give a worker up. */
const STOPPED_MS = 7000;
const RESTART_WITHIN_MS = 60_000;

/** The child that each line of the table is about. */
const VICTIMS: Readonly<Record<string, (gateway: TestGateway) => Promise<string> | string>> = {
  'a worker': busiestWorker,
  'the control plane': () => 'control',
  Redis: () => 'redis',
  ClickHouse: () => 'clickhouse',
  Envoy: () => 'envoy',
};

const BUDGET: ResourceObject = {
  apiVersion: 'limen.dev/v1alpha1',
  kind: 'LimitPolicy',
  metadata: { name: 'spent' },
  spec: { per: 'user', usd: 1_000_000, period: 'month', mode: 'soft' },
};

let system: TestSystem;

beforeAll(async () => {
  system = await startSystem({
    paceMs: FAULT_PACE_MS,
    // What is charged to a rule has a second witness.
    config: (port) => [...systemResources(port), BUDGET],
  });
});
afterAll(() => system.stop());

/** Breaks what the line says, under load, and mends what nobody else mends. */
async function bringAbout(fault: string, user: string): Promise<FaultReport> {
  const { gateway } = system;
  const [, signal, victim = ''] = /^(kill -9|SIGSTOP) of (.+)$/.exec(fault) ?? [];
  const choose = VICTIMS[victim];
  if (choose === undefined) throw new Error(`nobody knows how to bring about ${JSON.stringify(fault)}`);
  let name = '';
  let pid = 0;
  return underFault({
    gateway,
    key: await system.keyOf(user),
    inject: async () => {
      name = await choose(gateway);
      pid = gateway.pids()[name] ?? 0;
      if (pid <= 1) throw new Error(`${name} does not run`);
      process.kill(pid, signal === 'SIGSTOP' ? 'SIGSTOP' : 'SIGKILL');
    },
    repaired: async () => {
      if (signal === 'SIGSTOP') {
        await new Promise((resolve) => setTimeout(resolve, STOPPED_MS));
        process.kill(pid, 'SIGCONT');
        return;
      }
      await eventually(() => {
        const child = gateway.state().children.find((other) => other.name === name);
        return child?.state === 'ready' && child.pid !== pid ? true : undefined;
      }, RESTART_WITHIN_MS);
    },
  });
}

function describeOutcome(outcome: TrafficOutcome): string {
  const seconds = ((outcome.endedAt - outcome.startedAt) / 1000).toFixed(1);
  return `${failureOf(outcome)} after ${seconds} s: ${outcome.kind}${outcome.long ? ' (long)' : ''} ${outcome.body.slice(-200)}`;
}

function expectRequests(report: FaultReport, promised: FaultPromise): void {
  const failures = report.failedRequests.map(describeOutcome);
  expect(failures.length, failures.join('\n')).toBeLessThanOrEqual(promised.mostFailures);
  for (const failed of report.failedRequests) {
    expect(promised.failures, describeOutcome(failed)).toContain(failureOf(failed));
    if (failed.status >= 400)
      expect(inClientFormat(trafficKind(failed.kind), failed.body), failed.body).toBe(true);
  }
  expect(report.longestFailureSeconds, failures.join('\n')).toBeLessThanOrEqual(promised.failWithinSeconds);
  expect(report.recoverySeconds, failures.join('\n')).toBeLessThanOrEqual(promised.recoverySeconds);
}

function expectStreams({ openStreams }: FaultReport, promised: FaultPromise): void {
  expect(openStreams.length).toBeGreaterThan(0);
  const broken = openStreams.filter((outcome) => !isGood(outcome));
  const shown = broken.map(describeOutcome).join('\n');
  if (promised.openStreams === 'all survive') expect(broken, shown).toEqual([]);
  if (promised.openStreams === 'all break') expect(broken.length).toBe(openStreams.length);
  if (promised.openStreams === 'native survive') {
    expect(broken.length).toBeGreaterThan(0);
    expect(
      broken.filter(({ kind }) => trafficKind(kind).mode === 'native'),
      shown,
    ).toEqual([]);
  }
  expect(broken.filter(({ ending }) => ending !== 'broken')).toEqual([]);
}

/** Exactly one row for each request that was admitted. */
async function expectRows(report: FaultReport, promised: FaultPromise, user: string): Promise<void> {
  await settled(system.gateway);
  const rows = await rowsOf(system.gateway, user);
  const byId = new Map(rows.map((row) => [row['request_id'], row]));
  expect(byId.size).toBe(rows.length);
  expect(rows.length).toBeLessThanOrEqual(report.outcomes.length);
  const answered = report.outcomes.filter(({ status }) => status === 200);
  expect(answered.filter(({ headers }) => !byId.has(headers['x-request-id']))).toEqual([]);
  // Envoy alone takes along what nobody else was told.
  const unsettled = answered.filter(
    ({ headers }) => byId.get(headers['x-request-id'])?.['error_code'] === 'unsettled',
  );
  expect(promised.fault.endsWith(' of Envoy') ? [] : unsettled.map(describeOutcome)).toEqual([]);
  // A request of which the client heard nothing, or a refusal, may have been admitted or not.
  expect(rows.length).toBeGreaterThanOrEqual(answered.length);
  expect(promised.usageSources).toEqual(expect.arrayContaining(Object.keys(countBy(rows, 'usage_source'))));
}

describe('the table of faults', () => {
  it.each(readFaultTable())('holds for $fault', { timeout: 240_000 }, async (promised) => {
    const user = promised.fault.replaceAll(' ', '-');
    const report = await bringAbout(promised.fault, user);
    const { requests, failedRequests, openStreams, recoverySeconds } = report;
    process.stdout.write(
      `  ${promised.fault}: ${failedRequests.length} of ${requests.length} requests failed, ` +
        `${openStreams.filter(isGood).length} of ${openStreams.length} streams survived, ` +
        `${recoverySeconds.toFixed(2)} s to recover\n`,
    );
    expect(falselyWhole(report.outcomes).map(describeOutcome)).toEqual([]);
    expectRequests(report, promised);
    expectStreams(report, promised);
    await expectRows(report, promised, user);
  });
});
