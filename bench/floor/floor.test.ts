import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import type { Server } from '@grpc/grpc-js';
import { freePort, removeFolder, temporaryFolder } from '../../test/support/running-envoy.ts';
import { openai, type ScriptedUpstream, startUpstream } from '../../test/support/upstream/index.ts';
import { failedRequests, httpRequest, runLoad } from '../load/load.ts';
import { type BenchEnvoy, startBenchEnvoy } from './envoy.ts';
import { startFloor } from './ext-proc.ts';
import { headersResponse, readRequest, streamedBodyResponse } from './messages.ts';

let upstream: ScriptedUpstream | undefined;
let envoy: BenchEnvoy | undefined;
let floor: Server | undefined;
let folder: string | undefined;

afterEach(async () => {
  await envoy?.stop();
  floor?.forceShutdown();
  await upstream?.close();
  if (folder !== undefined) await removeFolder(folder);
});

test('reads what Envoy sends and writes what it expects, by the field numbers of its protocol', () => {
  const bytes = (...values: number[]) => Buffer.from(values);
  // request_headers {headers {}, end_of_stream: true}, then an unknown varint field
  expect(readRequest(bytes(0x12, 4, 0x0a, 0, 0x18, 1, 0x50, 0x96, 1))).toMatchObject({
    kind: 'headers',
    endOfStream: true,
  });
  // request_body {body: "hi", end_of_stream: true}
  expect(readRequest(bytes(0x22, 6, 0x0a, 2, 0x68, 0x69, 0x10, 1))).toEqual({
    kind: 'body',
    body: Buffer.from('hi'),
    endOfStream: true,
  });
  expect(readRequest(bytes(0x32, 0)).kind).toBe('other');
  expect(headersResponse()).toEqual(bytes(0x0a, 2, 0x0a, 0));
  // request_body {response {body_mutation {streamed_response {body: "hi", end_of_stream: true}}}}
  const expected = bytes(0x1a, 12, 0x0a, 10, 0x1a, 8, 0x1a, 6, 0x0a, 2, 0x68, 0x69, 0x10, 1);
  expect(streamedBodyResponse(Buffer.from('hi'))).toEqual(expected);
  expect(streamedBodyResponse(Buffer.alloc(300)).subarray(0, 3)).toEqual(bytes(0x1a, 0xba, 2));
});

test('carries bodies of every size through Envoy unchanged, and outlives Node’s reset limit', async () => {
  folder = await temporaryFolder();
  upstream = await startUpstream();
  const socket = join(folder, 'floor.sock');
  floor = await startFloor(socket);
  const listenPort = await freePort();
  envoy = await startBenchEnvoy(folder, {
    listenPort,
    upstreamPort: upstream.port,
    adminSocket: join(folder, 'admin.sock'),
    processorSockets: [socket],
  });
  const url = `http://127.0.0.1:${listenPort}`;
  upstream.always(openai.echo());
  for (const size of [10, 70_000, 5_000_000]) {
    const messages = [{ role: 'user', content: 'x'.repeat(size) }];
    const response = await fetch(`${url}${openai.pathFor('m', false)}`, {
      method: 'POST',
      body: JSON.stringify({ model: 'm', messages }),
    });
    expect(await response.text()).toContain(upstream.last().bodyHash());
    expect(openai.read(upstream.last()).model).toBe('m');
  }
  const request = httpRequest({
    path: openai.pathFor('m', false),
    host: 'bench',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'm', messages: [] }),
  });
  upstream.always(openai.answer({ text: ['ok'] }));
  const result = await runLoad({
    url,
    connections: 16,
    durationMs: 60_000,
    maxRequests: 1500,
    request: () => request,
  });
  expect(failedRequests(result)).toBe(0);
  expect(result.completed).toBe(1500);
}, 90_000);
