import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import { readSettings } from '../../src/config/env.ts';
import { bootstrapText } from '../../src/commands/up.ts';
import { endpointsOf } from '../../src/up/endpoints.ts';
import { ROOT } from '../support/house.ts';
import {
  envoyBinary,
  eventually,
  freePort,
  get,
  removeFolder,
  RunningEnvoy,
  temporaryFolder,
} from '../support/running-envoy.ts';

const run = promisify(execFile);

async function validate(file: string): Promise<string> {
  const { stdout, stderr } = await run(envoyBinary(), ['--mode', 'validate', '-c', file, '-l', 'warn']);
  return stdout + stderr;
}

describe('the bootstrap', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await temporaryFolder();
  });

  afterEach(async () => {
    await removeFolder(folder);
  });

  test('of docker-compose.yml is one that Envoy takes, without a word about it', async () => {
    const said = await validate(join(ROOT, 'envoy/bootstrap.yaml'));
    expect(said).toContain('OK');
    expect(said).not.toMatch(/\[(warning|error|critical)\]|deprecated/i);
  });

  test('of npm start is one that Envoy takes', async () => {
    const settings = readSettings({ LIMEN_DATA: folder });
    const file = join(folder, 'bootstrap.json');
    await writeFile(file, bootstrapText(settings, endpointsOf(settings, '')));
    expect(await validate(file)).toContain('OK');
  });

  test('answers on the console port while there is no control plane', async () => {
    const port = await freePort();
    const settings = readSettings({ LIMEN_DATA: folder, LIMEN_CONSOLE_PORT: String(port) });
    const endpoints = endpointsOf({ ...settings, run: folder }, '');
    const bootstrap = z
      .looseObject({
        dynamic_resources: z.looseObject({ cds_config: z.looseObject({}), lds_config: z.looseObject({}) }),
      })
      .parse(JSON.parse(bootstrapText(settings, endpoints)));
    // Envoy opens no port before it has its first configuration, or has waited 15 s for each of the two.
    bootstrap.dynamic_resources.cds_config['initial_fetch_timeout'] = '0.1s';
    bootstrap.dynamic_resources.lds_config['initial_fetch_timeout'] = '0.1s';
    const envoy = await RunningEnvoy.start(folder, bootstrap, endpoints.sockets.envoyAdmin);
    try {
      const live = await eventually(() => get({ port }, '/health/live'));
      expect(live).toEqual({ status: 200, body: '{"status":"live"}\n' });
      const answer = await get({ port }, '/api/v1/status');
      expect(answer.status).toBe(503);
      expect(JSON.parse(answer.body)).toMatchObject({ error: { code: 'unavailable' } });
    } finally {
      await envoy.stop();
    }
  });

  test('tells the control plane itself whose request it is, and leaves ids with slashes as they are', async () => {
    const port = await freePort();
    const settings = readSettings({ LIMEN_DATA: folder, LIMEN_CONSOLE_PORT: String(port) });
    const endpoints = endpointsOf({ ...settings, run: folder }, '');
    const { dynamic_resources: _, ...bootstrap } = z
      .looseObject({ dynamic_resources: z.unknown() })
      .parse(JSON.parse(bootstrapText(settings, endpoints)));
    const control = createServer((request, response) => {
      response.end(
        JSON.stringify({ url: request.url, address: request.headers['x-envoy-external-address'] }),
      );
    });
    await new Promise<void>((resolve) => control.listen(endpoints.sockets.adminApi, resolve));
    const envoy = await RunningEnvoy.start(folder, bootstrap, endpoints.sockets.envoyAdmin);
    try {
      for (const headers of [
        {},
        { 'x-envoy-external-address': '192.0.2.9' },
        { 'x-envoy-external-address': '192.0.2.9', 'x-forwarded-for': '192.0.2.9' },
      ]) {
        const answer = await eventually(async () => {
          const response = await fetch(`http://127.0.0.1:${port}/api/v1/users/corp:https:%2F%2Fa`, {
            headers,
          });
          if (response.status !== 200) throw new Error(`status ${response.status}`);
          return response;
        });
        expect(await answer.json()).toEqual({
          url: '/api/v1/users/corp:https:%2F%2Fa',
          address: '127.0.0.1',
        });
      }
    } finally {
      await envoy.stop();
      control.closeAllConnections();
      control.close();
    }
  });
});
