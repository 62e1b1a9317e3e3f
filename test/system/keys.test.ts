import { setTimeout as pause } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createdKeySchema, keyViewSchema, type CreatedKey } from '../../src/admin/contract.ts';
import { eventually } from '../support/running-envoy.ts';
import type { ResourceObject } from '../support/gateway.ts';
import { startSystem, systemResources, type TestSystem } from '../support/system.ts';
import { limen as runLimen } from '../support/system/command.ts';
import { exchange, type Outcome } from '../support/system/exchange.ts';

/** The life of a virtual key, from the command line to every worker: made, used, rotated, deleted, restored, revoked. */

const RED: ResourceObject = {
  apiVersion: 'limen.dev/v1alpha1',
  kind: 'Team',
  metadata: { name: 'red' },
  spec: { models: ['messages-*'] },
};

let system: TestSystem;
let withoutTeam: readonly ResourceObject[] = [];

beforeAll(async () => {
  system = await startSystem({
    paceMs: 0,
    config: (port) => {
      withoutTeam = systemResources(port);
      return [...withoutTeam, RED];
    },
  });
});
afterAll(() => system.stop());

/** Runs a `limen` command that must succeed; what it printed. */
async function limen(...args: string[]): Promise<string> {
  const result = await runLimen(args, { env: system.gateway.environment });
  expect(result).toMatchObject({ code: 0 });
  return result.stdout;
}

async function created(...args: string[]): Promise<CreatedKey> {
  return createdKeySchema.parse(JSON.parse(await limen(...args, '--json')));
}

/** Statuses of several requests with one key, so that every worker is likely to be asked. */
async function statusesOf(key: string): Promise<number[]> {
  return [...new Set((await answersOf(key)).map(({ status }) => status))];
}

function answersOf(key: string): Promise<Outcome[]> {
  return Promise.all(
    Array.from({ length: 8 }, () =>
      exchange({
        url: system.gateway.url,
        path: '/v1/chat/completions',
        headers: { authorization: `Bearer ${key}` },
        body: JSON.stringify({ model: 'chat-model', messages: [{ role: 'user', content: 'Hello' }] }),
      }),
    ),
  );
}

it('is made, used, rotated, deleted, restored and revoked, each in force when the command has ended', async () => {
  const first = await created('keys', 'create', '--user', 'ada', '--name', 'life', '--inactive', '90');
  expect(await statusesOf(first.key)).toEqual([200]);

  const second = await created('keys', 'rotate', first.id, '--grace', '1h');
  expect(second.id).toBe(first.id);
  expect(await statusesOf(first.key)).toEqual([200]);
  expect(await statusesOf(second.key)).toEqual([200]);

  // A second rotation ends the grace of the first one; its own ends by the workers' clocks.
  const third = createdKeySchema.parse(
    await system.gateway.admin('POST', `/keys/${first.id}/rotate`, { graceSeconds: 8 }),
  );
  expect(await statusesOf(first.key)).toEqual([401]);
  expect(await statusesOf(second.key)).toEqual([200]);
  await pause(8000);
  expect(await statusesOf(second.key)).toEqual([401]);
  expect(await statusesOf(third.key)).toEqual([200]);

  await limen('keys', 'delete', first.id);
  expect(await statusesOf(third.key)).toEqual([401]);
  await limen('keys', 'restore', first.id);
  expect(await statusesOf(third.key)).toEqual([200]);

  // It is told of by the workers some time after.
  const used = await eventually(async () => {
    const key = keyViewSchema.parse(JSON.parse(await limen('keys', 'show', first.id, '--json')));
    return key.lastUsedAt;
  }, 60_000);
  expect(Date.now() - Date.parse(used)).toBeLessThan(180_000);

  await limen('keys', 'revoke', first.id);
  expect(await statusesOf(third.key)).toEqual([401]);
}, 180_000);

it('is refused while its user is disabled', async () => {
  const { key } = await created('keys', 'create', '--user', 'bob');
  expect(await statusesOf(key)).toEqual([200]);
  await limen('users', 'disable', 'bob');
  expect(await statusesOf(key)).not.toContain(200);
  expect(await limen('users', 'list', '--disabled')).toContain('bob');
  await limen('users', 'enable', 'bob');
  expect(await statusesOf(key)).toEqual([200]);
}, 120_000);

it('is bound by the surfaces and models it was made for', async () => {
  const elsewhere = await created('keys', 'create', '--user', 'ada', '--surfaces', 'mcp');
  expect(await statusesOf(elsewhere.key)).toEqual([403]);
  const other = await created('keys', 'create', '--user', 'ada', '--models', 'messages-*');
  expect(await statusesOf(other.key)).not.toContain(200);
}, 120_000);

it('keeps what its team withholds when the team vanishes from the file, until that is given up', async () => {
  const { key } = await created('keys', 'create', '--user', 'carol', '--team', 'red');
  expect(await statusesOf(key)).toEqual([403]);
  system.gateway.writeConfig(withoutTeam);
  await eventually(async () => {
    const { stdout } = await runLimen(['doctor'], { env: system.gateway.environment });
    return stdout.includes('is no longer declared, and still bounds who was in it') ? true : undefined;
  });
  const told = (await answersOf(key)).map(({ status, body }) => [
    status,
    body.includes('the list of your team'),
  ]);
  expect(told).toEqual(told.map(() => [403, true]));
  const env = { env: system.gateway.environment };
  expect(await runLimen(['teams', 'delete', 'red'], env)).toMatchObject({ code: 1 });
  expect(await statusesOf(key)).toEqual([403]);
  await limen('teams', 'delete', 'red', '--force');
  expect(await statusesOf(key)).toEqual([200]);
}, 120_000);
