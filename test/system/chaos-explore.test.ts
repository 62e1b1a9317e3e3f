import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { join } from 'node:path';
import { eventually } from '../support/running-envoy.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { FAULT_PACE_MS, failureOf, falselyWhole, inClientFormat, underFault } from '../support/system/fault.ts';
import { countBy, rowsOf, settled } from '../support/system/ledger-watch.ts';
import { isGood } from '../support/system/traffic.ts';
import { trafficKind } from '../support/system/traffic-kinds.ts';
import { writeFileSync, appendFileSync } from 'node:fs';

let system: TestSystem;
beforeAll(async () => {
  system = await startSystem({ paceMs: FAULT_PACE_MS });
});
afterAll(() => {
  writeFileSync('/tmp/limen/chaos-logs.txt', system.gateway.logs());
  return system.stop();
});

const out = (text: string) => appendFileSync('/tmp/limen/chaos-report.txt', text + '\n');

async function restarted(name: string, pid: number) {
  await eventually(() => {
    const child = system.gateway.state().children.find((c) => c.name === name);
    return child?.state === 'ready' && child.pid !== pid ? true : undefined;
  }, 60_000);
}

describe('chaos', () => {
  it.each(['processor-0', 'stop processor-1', 'control', 'redis', 'clickhouse', 'envoy'])('%s', async (fault) => {
    const { gateway } = system;
    const name = fault.replace('stop ', '');
    const user = fault.replace(' ', '-');
    const key = await system.keyOf(user);
    const pid = gateway.pids()[name] ?? 0;
    expect(pid).toBeGreaterThan(1);
    const stop = fault.startsWith('stop');
    const report = await underFault({
      gateway, key,
      inject: () => void process.kill(pid, stop ? 'SIGSTOP' : 'SIGKILL'),
      repaired: async () => {
        if (stop) {
          await new Promise((r) => setTimeout(r, 9000));
          process.kill(pid, 'SIGCONT');
        } else await restarted(name, pid);
      },
    });
    const t = performance.now();
    await settled(gateway).catch((e) => out(String(e)));
    const rows = await rowsOf(gateway, user);
    const tally = (xs: readonly string[]) => xs.reduce<Record<string, number>>((m, x) => ({ ...m, [x]: (m[x] ?? 0) + 1 }), {});
    out(JSON.stringify({
      fault, all: report.outcomes.length, requests: report.requests.length,
      failed: tally(report.failedRequests.map((o) => `${failureOf(o)} ${o.kind}${o.long ? ' long' : ''}`)),
      badFormat: report.failedRequests.filter((o) => o.status >= 400 && !inClientFormat(trafficKind(o.kind), o.body)).map((o) => o.body.slice(0, 300)),
      codes: tally(report.failedRequests.map((o) => /"code":"(\w+)"/.exec(o.body)?.[1] ?? o.body.slice(0, 200))),
      open: tally(report.openStreams.map((o) => `${isGood(o) ? 'survived' : failureOf(o)} ${o.kind}`)),
      openBreakSeconds: report.openStreams.filter((o) => !isGood(o)).map((o) => o.endedAt - o.startedAt),
      falselyWhole: falselyWhole(report.outcomes).length,
      recovery: report.recoverySeconds, longest: report.longestFailureSeconds,
      settleMs: performance.now() - t,
      rows: rows.length, unique: new Set(rows.map((r) => r['request_id'])).size,
      good: report.outcomes.filter(isGood).length,
      withStatus: tally(report.outcomes.map((o) => `${o.status} ${o.ending}`)),
      missing: report.outcomes.filter((o) => o.status === 200 && !rows.some((r) => r['request_id'] === o.headers['x-request-id'])).length,
      status: countBy(rows, 'status'), sources: countBy(rows, 'usage_source'), codes2: countBy(rows, 'error_code'), revision: countBy(rows, 'revision'),
    }, null, 1));
  });
});
