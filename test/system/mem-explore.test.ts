import { afterAll, beforeAll, it } from 'vitest';
import { httpRequest, runLoad } from '../../bench/load/load.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { residentBytes } from '../support/system/memory.ts';
import { endMarker, TRAFFIC_KIND_NAMES, trafficBody, trafficKind } from '../support/system/traffic-kinds.ts';
import { cpSync, appendFileSync, readFileSync } from 'node:fs';
const cpu = (p: number) => { const f = readFileSync(`/proc/${p}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []; return (Number(f[11]) + Number(f[12])) * 10; };
let system: TestSystem;
beforeAll(async () => { system = await startSystem({ paceMs: 2, env: { LIMEN_LEASE_SECONDS: '120', NODE_OPTIONS: process.env['MEMOPT'] ?? '--trace-gc' } }); });
afterAll(async () => { cpSync(`${system.gateway.dataFolder}/data/logs`, '/tmp/limen/mem-logs', { recursive: true }); await system.stop(); });
it('mem', async () => {
  const key = await system.keyOf('mem');
  const pids = Object.entries(system.gateway.pids()).filter(([n]) => /^(processor-\d+|envoy|control)$/.test(n));
  const begun = performance.now();
  const timer = setInterval(() => appendFileSync('/tmp/limen/mem.txt', `${((performance.now() - begun) / 1000).toFixed(0)} ` + pids.map(([n, p]) => `${n}=${(residentBytes(p) / 1048576).toFixed(1)}`).join(' ') + '\n'), 5000);
  const rs = await Promise.all(TRAFFIC_KIND_NAMES.map((name) => {
    const kind = trafficKind(name);
    const request = httpRequest({ path: kind.path, host: new URL(system.gateway.url).host, headers: { 'content-type': 'application/json', authorization: `Bearer ${key}` }, body: trafficBody(kind, { chunks: 16 }) });
    return runLoad({ url: system.gateway.url, connections: 8, durationMs: Number(process.env['MEMSEC'] ?? 90) * 1000, request: () => request, endMarker: endMarker(kind) });
  }));
  appendFileSync('/tmp/limen/mem.txt', `rate ${rs.reduce((n, r) => n + r.completedPerSecond, 0)}\n`);
  clearInterval(timer);
  const n = rs.reduce((a, r) => a + r.completed, 0);
  appendFileSync('/tmp/limen/mem.txt', process.env['MEMOPT'] + ' CPU us/req ' + pids.map(([name, p]) => `${name}=${(cpu(p) * 1000 / n).toFixed(0)}`).join(' ') + '\n');
}, 600_000);
