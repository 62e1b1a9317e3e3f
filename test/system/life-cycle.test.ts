import { execFileSync } from 'node:child_process';
import { chmodSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { createdKeySchema } from '../../src/admin/contract.ts';
import { identify } from '../../src/up/process-identity.ts';
import { get } from '../support/running-envoy.ts';
import { limen, runCommand } from '../support/system/command.ts';
import { exchange } from '../support/system/exchange.ts';
import { allGone, Installation, type Started } from '../support/system/started.ts';

/** The figure is five seconds on a machine with nothing else to do. */
const WARM_START_WITHIN_MS = 30_000;
const METRICS_TOKEN = 'a-token-of-the-life-cycle-tests';
const answerSchema = z.object({ choices: z.array(z.object({ message: z.object({ content: z.string() }) })) });

let home: Installation;
let running: Started | undefined;
let firstKey = '';

beforeAll(async () => {
  home = await Installation.make();
});
afterAll(async () => {
  if (running && !running.ended) {
    running.signal('SIGINT');
    await running.exit();
  }
  home.remove();
});

function started(): Started {
  if (!running) throw new Error('the first start has failed');
  return running;
}

function chat(url: string, key: string, model = 'demo') {
  return exchange({
    url,
    path: '/v1/chat/completions',
    headers: { authorization: `Bearer ${key}` },
    body: JSON.stringify({ model, messages: [{ role: 'user', content: 'Hello' }] }),
  });
}

async function status(port: number, path: string): Promise<number> {
  return (await get({ port }, path)).status;
}

/** `curl` for a machine that has none: what the printed line needs of it, and no more. */
function pathWithCurl(folder: string): string {
  const path = process.env['PATH'] ?? '';
  try {
    execFileSync('curl', ['--version'], { stdio: 'ignore' });
    return path;
  } catch {
    const tools = join(folder, 'tools');
    mkdirSync(tools, { recursive: true });
    writeFileSync(
      join(tools, 'curl'),
      `#!${process.execPath}\nconst [url, ...rest] = process.argv.slice(2);\nconst headers = {};\nlet body;\nfor (let i = 0; i < rest.length; i += 2) {\n  if (rest[i] === '-H') { const [name, value] = rest[i + 1].split(': '); headers[name] = value; }\n  if (rest[i] === '-d') body = rest[i + 1];\n}\nfetch(url, { method: 'POST', headers, body }).then((r) => r.text()).then((t) => process.stdout.write(t));\n`,
    );
    chmodSync(join(tools, 'curl'), 0o755);
    return `${tools}:${path}`;
  }
}

describe('the first start', () => {
  it('prints the address, a key, and a curl line that works as it stands', async () => {
    running = home.start();
    await running.ready();
    const { output } = running;
    expect(output).toMatch(new RegExp(`Limen is ready: http://\\S+:${home.gatewayPort}\\b`));
    expect(output).toMatch(new RegExp(`http://\\S+:${home.consolePort}\\b`));
    firstKey = /shown only now:\s+(tw-\S+)/.exec(output)?.[1] ?? '';
    expect(firstKey).not.toBe('');
    const line = /^\s*(curl .*)$/m.exec(output)?.[1] ?? '';
    const { code, stdout, stderr } = await runCommand('/bin/sh', ['-c', line], {
      env: { ...home.env, PATH: pathWithCurl(home.folder) },
      cwd: home.folder,
    });
    expect(code, stderr).toBe(0);
    expect(answerSchema.parse(JSON.parse(stdout)).choices[0]?.message.content).not.toBe('');
  });

  it('tells on both ports that it lives and is ready, and hides metrics without a token', async () => {
    for (const port of [home.gatewayPort, home.consolePort]) {
      expect(await status(port, '/health/live')).toBe(200);
      expect(await status(port, '/health/ready')).toBe(200);
    }
    expect(await status(home.gatewayPort, '/metrics')).toBe(404);
  });

  it('lets the doctor find everything in order', async () => {
    const { code, stdout, stderr } = await limen(['doctor'], { env: home.env, cwd: home.folder });
    expect(code, stdout + stderr).toBe(0);
    for (const part of ['envoy', 'redis', 'postgres', 'clickhouse', 'control', 'processor-0'])
      expect(stdout.toLowerCase()).toContain(part);
  });

  it('makes, lists and revokes keys; a revoked one is refused within a second', async () => {
    const command = (...args: string[]) => limen(args, { env: home.env, cwd: home.folder });
    const created = await command('keys', 'create', '--user', 'ada', '--json');
    expect(created.code, created.stderr).toBe(0);
    const { key, id } = createdKeySchema.parse(JSON.parse(created.stdout));
    expect((await chat(home.url, key)).status).toBe(200);
    const listed = await command('keys', 'list');
    expect(listed.stdout).toContain(id);
    expect(listed.stdout).not.toContain(key);
    const revoked = await command('keys', 'revoke', id);
    expect(revoked.code, revoked.stderr).toBe(0);
    const answers = await Promise.all(Array.from({ length: 20 }, () => chat(home.url, key)));
    expect(answers.map((answer) => answer.status)).toEqual(Array.from({ length: 20 }, () => 401));
    expect((await chat(home.url, firstKey)).status).toBe(200);
  });

  it('applies resources and shows them', async () => {
    const file = join(home.folder, 'more.yaml');
    writeFileSync(
      file,
      'apiVersion: limen.dev/v1alpha1\nkind: Model\nmetadata: {name: applied}\nspec:\n  targets:\n    - {provider: demo, model: demo}\n',
    );
    const applied = await limen(['apply', '-f', file], { env: home.env, cwd: home.folder });
    expect(applied.code, applied.stdout + applied.stderr).toBe(0);
    const shown = await limen(['get', 'models'], { env: home.env, cwd: home.folder });
    expect(shown.stdout).toContain('applied');
    expect((await chat(home.url, firstKey, 'applied')).status).toBe(200);
  });

  it('leaves room for a second instance, but not on its own data folder', async () => {
    const neighbour = await Installation.make();
    try {
      const other = neighbour.start();
      await other.ready();
      const key = /shown only now:\s+(tw-\S+)/.exec(other.output)?.[1] ?? '';
      expect((await chat(neighbour.url, key)).status).toBe(200);
      expect((await chat(home.url, key)).status).toBe(401);
      other.signal('SIGINT');
      expect(await other.exit()).toBe(0);
      const { LIMEN_GATEWAY_PORT = '', LIMEN_CONSOLE_PORT = '' } = neighbour.env;
      const intruder = home.start({ LIMEN_GATEWAY_PORT, LIMEN_CONSOLE_PORT });
      expect(await intruder.exit()).toBe(1);
      expect(intruder.output).toMatch(/^error: Limen already runs on the data folder .*LIMEN_DATA/m);
    } finally {
      neighbour.remove();
    }
    expect((await chat(home.url, firstKey)).status).toBe(200);
  });

  it('ends with Ctrl-C and leaves no process', async () => {
    const { supervisor, children } = started().processes();
    expect(children.length).toBeGreaterThanOrEqual(6);
    started().signal('SIGINT');
    expect(await started().exit()).toBe(0);
    await allGone([supervisor, ...children], 10_000);
  });
});

describe('a later start', () => {
  it('serves within seconds, shows no key, and knows the old one', async () => {
    const begun = performance.now();
    running = home.start({ LIMEN_METRICS_TOKEN: METRICS_TOKEN });
    let served = await chat(home.url, firstKey);
    while (served.status !== 200 && performance.now() - begun < WARM_START_WITHIN_MS)
      served = await chat(home.url, firstKey);
    const took = performance.now() - begun;
    process.stdout.write(`  warm start to the first served request: ${(took / 1000).toFixed(2)} s\n`);
    expect(served.status, running.output).toBe(200);
    expect(took).toBeLessThan(WARM_START_WITHIN_MS);
    await running.ready();
    expect(running.output).not.toMatch(/tw-/);
    expect((await chat(home.url, firstKey, 'applied')).status).toBe(200);
  });

  it('shows metrics to who has the token', async () => {
    const ask = (headers: Record<string, string>) =>
      exchange({ url: home.url, method: 'GET', path: '/metrics', headers });
    expect((await ask({})).status).toBe(401);
    expect((await ask({ authorization: 'Bearer something-else-altogether' })).status).toBe(401);
    const shown = await ask({ authorization: `Bearer ${METRICS_TOKEN}` });
    expect(shown.status).toBe(200);
    expect(shown.body).toContain('limen_requests_total');
  });

  it('leaves nothing behind that blocks the next one when its parent is killed', async () => {
    for (const victim of ['supervisor', 'wrapper'] as const) {
      const { supervisor, children } = started().processes();
      const pid = victim === 'supervisor' ? supervisor.pid : started().pid;
      expect(identify(pid)).toBeDefined();
      process.kill(pid, 'SIGKILL');
      await started().exit();
      running = home.start();
      await running.ready();
      expect((await chat(home.url, firstKey)).status).toBe(200);
      await allGone([supervisor, ...children], 10_000);
    }
    started().signal('SIGTERM');
    expect(await started().exit()).toBe(0);
  });
});

describe('a start that cannot be', () => {
  it.each([
    ['LIMEN_GATEWAY_PORT', 'gatewayPort'],
    ['LIMEN_CONSOLE_PORT', 'consolePort'],
  ] as const)('names the taken port and %s in one line', async (variable, property) => {
    const server = createServer().listen(home[property], '0.0.0.0');
    await once(server, 'listening');
    try {
      const attempt = home.start();
      expect(await attempt.exit()).toBe(1);
      const lines = attempt.output
        .trim()
        .split('\n')
        .filter((line) => line.includes('rror'));
      expect(lines).toHaveLength(1);
      expect(lines[0]).toContain(String(home[property]));
      expect(lines[0]).toContain(variable);
    } finally {
      server.close();
      await once(server, 'close');
    }
  });

  it('lists everything that is wrong with limen.yaml', async () => {
    const file = join(home.folder, 'limen.yaml');
    writeFileSync(
      file,
      [
        'apiVersion: limen.dev/v1alpha1',
        'kind: Provider',
        'metadata: {name: one}',
        'spec: {type: opnai}',
        '---',
        'apiVersion: limen.dev/v1alpha1',
        'kind: Model',
        'metadata: {name: two}',
        'spec:',
        '  targets: []',
        '',
      ].join('\n'),
    );
    const attempt = home.start({ LIMEN_CONFIG: file });
    expect(await attempt.exit()).toBe(1);
    expect(attempt.output).toMatch(/limen\.yaml:4\b.*spec\.type.*opnai/);
    expect(attempt.output).toMatch(/limen\.yaml:10\b.*spec\.targets/);
    expect(attempt.output).not.toMatch(/\n\s+at /);
  });
});
