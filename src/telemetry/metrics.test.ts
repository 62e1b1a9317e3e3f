import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { GatewayLogRow } from '../core/ledger.ts';
import { makeUsage } from '../core/usage.ts';
import { collectMetrics, ownMetrics, serveMetrics, socketMetrics } from './collect-metrics.ts';
import { ControlMetrics } from './control-metrics.ts';
import { WorkerMetrics } from './worker-metrics.ts';

const row: GatewayLogRow = {
  requestId: 'r',
  revision: 2,
  time: 1,
  keyId: 'key-1',
  user: 'ada-lovelace',
  team: 'engine',
  tenant: '',
  format: 'chat',
  modelAsked: 'whatever-the-client-typed',
  model: 'fast',
  provider: 'openai',
  providerModel: 'gpt',
  stream: true,
  attempts: 1,
  status: 200,
  errorCode: '',
  usage: makeUsage({ input: 10, output: 5, cachedInput: 4 }),
  usageSource: 'provider',
  costUsd: 0.25,
  cache: 'miss',
  timeToFirstTokenMs: 300,
  durationMs: 2000,
  limenMicros: 400,
  responseBytes: 1,
  snapshot: 's',
  trace: [],
};

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'limen-metrics-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function worker(redisUp = true, queued = 0): WorkerMetrics {
  return new WorkerMetrics({ queuedRows: () => queued, redisUp: () => redisUp });
}

describe('metrics', () => {
  it('adds up what several processes tell, and says which one is silent', async () => {
    const one = worker(true, 2);
    const two = worker(false, 3);
    const control = new ControlMetrics({
      providers: () => ['openai', 'claude'],
      circuits: () =>
        Promise.resolve([{ provider: 'claude', state: 'open', failures: 5, retryInSeconds: 30 }]),
    });
    one.requestSettled({ ...row, cutOffTokens: 5 });
    two.requestSettled(row);
    two.requestSettled({
      ...row,
      status: 502,
      errorCode: 'upstream_error',
      usage: makeUsage({}),
      costUsd: 0,
    });
    two.admitFailed('away');
    for (const [metrics, costUsd] of [
      [one, 0.5],
      [two, 0],
    ] as const) {
      metrics.tryFailed({
        requestId: 'r',
        ordinal: 1,
        time: 1,
        provider: 'claude',
        providerModel: 'haiku',
        status: 0,
        outcome: 'reset',
        mayBeBilled: true,
        costUsd,
        durationMs: 1,
        retryAfterSeconds: 0,
      });
    }
    one.requestUnidentified(401);
    control.rowsWritten(3);
    control.overran('month');
    control.backlog(7, 8);

    const server = await serveMetrics(two.registry, join(folder, 'two.sock'));
    const silent = createServer(() => undefined);
    await new Promise<void>((resolve) => silent.listen(join(folder, 'silent.sock'), resolve));
    const text = await collectMetrics([
      ownMetrics('processor-0', one.registry),
      socketMetrics('processor-1', join(folder, 'two.sock')),
      socketMetrics('processor-2', join(folder, 'missing.sock')),
      socketMetrics('processor-3', join(folder, 'silent.sock')),
      ownMetrics('control', control.registry),
    ]);
    for (const line of [
      'limen_requests_total{format="chat",model="fast",provider="openai",status="200",error=""} 2',
      'limen_requests_total{format="chat",model="fast",provider="openai",status="502",error="upstream_error"} 1',
      'limen_tokens_total{model="fast",provider="openai",kind="input"} 20',
      'limen_tokens_total{model="fast",provider="openai",kind="cached_input"} 8',
      'limen_cost_usd_total{model="fast",provider="openai"} 0.5',
      'limen_unidentified_requests_total{status="401"} 1',
      'limen_overhead_seconds_count{format="chat"} 3',
      'limen_time_to_first_token_seconds_count{model="fast",provider="openai"} 3',
      'limen_ledger_admit_failures_total{reason="away"} 1',
      'limen_ledger_queue_rows 5',
      'limen_redis_up 0',
      'limen_cut_off_answers_total{model="fast"} 1',
      'limen_limit_overruns_total{rule="month"} 1',
      'limen_ledger_rows_written_total 3',
      'limen_ledger_open_intents 7',
      'limen_failed_tries_total{provider="claude",outcome="reset"} 2',
      'limen_failed_tries_cost_usd_total{provider="claude"} 0.5',
      'limen_answer_cache_total{model="fast",result="miss"} 3',
      'limen_provider_circuit{provider="claude",state="open"} 1',
      'limen_provider_circuit{provider="claude",state="closed"} 0',
      'limen_provider_circuit{provider="openai",state="closed"} 1',
      'limen_provider_circuit{provider="openai",state="probing"} 0',
      'limen_metrics_source_up{source="processor-0"} 1',
      'limen_metrics_source_up{source="processor-1"} 1',
      'limen_metrics_source_up{source="processor-2"} 0',
      'limen_metrics_source_up{source="processor-3"} 0',
    ]) {
      expect(text.split('\n')).toContain(line);
    }
    expect(text).not.toMatch(/ada-lovelace|key-1|whatever-the-client-typed/);
    await server.close();
    silent.close();
  });

  it('says nothing of circuits while nobody knows them', async () => {
    const control = new ControlMetrics({
      providers: () => ['openai'],
      circuits: () => Promise.reject(new Error('away')),
    });
    const text = await collectMetrics([ownMetrics('control', control.registry)]);
    expect(text).toContain('limen_metrics_source_up{source="control"} 1');
    expect(text).not.toContain('limen_provider_circuit{');
  });

  it('replaces the socket that a killed process left', async () => {
    const path = join(folder, 'one.sock');
    const first = await serveMetrics(worker().registry, path);
    const second = await serveMetrics(worker().registry, path);
    expect(await collectMetrics([socketMetrics('one', path)])).toContain(
      'limen_metrics_source_up{source="one"} 1',
    );
    await second.close();
    await first.close();
  });
});
