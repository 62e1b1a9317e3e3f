import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { validateResource } from '../config/load/validate.ts';
import { processEnvironment } from '../config/env.ts';

const MAIN = resolve(import.meta.dirname, '../main.ts');
let data: string;

beforeEach(async () => {
  data = await mkdtemp(join(tmpdir(), 'limen-demo-'));
});

afterEach(async () => {
  await rm(data, { recursive: true });
});

function limen(...args: readonly string[]) {
  const environment = { PATH: processEnvironment()['PATH'], LIMEN_DATA: data };
  const child = spawn(process.execPath, [MAIN, ...args], {
    env: environment,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return { child, out: child.stdout, done: once(child, 'close') };
}

describe('limen demo', () => {
  it('issuer prints an IdentityProvider and a token that its own keys verify; token mints more', async () => {
    const { child, out, done } = limen(
      'demo',
      'issuer',
      '--port',
      '0',
      '--groups',
      'staff, math',
      '--plan',
      'pro',
    );
    let printed = '';
    for await (const chunk of out) {
      printed += String(chunk);
      if (/\n\n?eyJ\S+\n$/.test(printed)) break;
    }
    const [yaml = '', token = ''] = printed.trim().split(/\n(?=eyJ)/);
    const resource: unknown = parse(yaml);
    expect(validateResource(resource).issues).toEqual([]);
    const issuer = /issuer: (\S+)/.exec(yaml)?.[1] ?? '';
    const keys = createRemoteJWKSet(new URL(`${issuer}/jwks.json`));
    const { payload } = await jwtVerify(token, keys, {
      issuer,
      audience: 'limen',
      requiredClaims: ['exp', 'jti'],
    });
    expect(payload).toMatchObject({ sub: 'ada', groups: ['staff', 'math'], plan: 'pro' });

    const other = (
      await text(limen('demo', 'token', '--user', 'bob', '--expires', '5m', '--new-key').out)
    ).trim();
    const fresh = createRemoteJWKSet(new URL(`${issuer}/jwks.json`));
    const minted = await jwtVerify(other, fresh, { issuer });
    expect(minted.payload.sub).toBe('bob');
    expect((minted.payload.exp ?? 0) - (minted.payload.iat ?? 0)).toBe(300);
    expect(await (await fetch(`${issuer}/jwks.json`)).text()).not.toContain('"d"');
    // The first key stays: its tokens hold.
    expect((await jwtVerify(token, fresh, { issuer })).payload.sub).toBe('ada');
    child.kill('SIGTERM');
    expect(await done).toEqual([0, null]);
  });

  it('token says what to do where there is no issuer', async () => {
    const { child, done } = limen('demo', 'token');
    expect(await text(child.stderr)).toContain('start one with limen demo issuer');
    expect(await done).toEqual([1, null]);
  });
});
