import { createClient, ClickHouseError, type ClickHouseClient } from '@clickhouse/client';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { TestClickHouse } from '../../../test/support/clickhouse.ts';
import { connectClickHouse } from './client.ts';

/** Everything here speaks through the ordinary client, so that a real server would pass as well. */
let server: TestClickHouse;
let client: ClickHouseClient;

beforeAll(async () => {
  server = await TestClickHouse.start();
  client = connectClickHouse({ url: server.url });
});

afterAll(async () => {
  await client.close();
  await server.stop();
});

async function rows(
  query: string,
  more: { query_params?: Record<string, unknown> } = {},
): Promise<unknown[]> {
  const result = await client.query({ query, format: 'JSONEachRow', ...more });
  return result.json();
}

describe('ClickHouse host', () => {
  it('answers pings, with and without a query', async () => {
    expect(await client.ping()).toMatchObject({ success: true });
    expect(await client.ping({ select: true })).toMatchObject({ success: true });
  });

  it('refuses a wrong password', async () => {
    const url = new URL(server.url);
    url.password = 'wrong';
    const stranger = createClient({ url, log: { level: 127 } });
    await expect(stranger.query({ query: 'SELECT 1' })).rejects.toMatchObject({
      code: '516',
      type: 'AUTHENTICATION_FAILED',
    });
    await stranger.close();
  });

  it('takes commands, inserts and queries, packed or not', async () => {
    await client.command({
      query: 'CREATE TABLE things (id UInt32, name String, at DateTime64(3)) ORDER BY id',
    });
    const values = [
      { id: 1, name: 'it\'s \\ a \t "thing"\n ☃', at: 1_795_242_490_771 },
      { id: 2, name: '; DROP TABLE things --', at: 1_795_242_490_772 },
    ];
    await client.insert({ table: 'things', values, format: 'JSONEachRow' });
    await client.insert({ table: 'things', values: [], format: 'JSONEachRow' });
    expect(
      await rows('SELECT id, name, toUnixTimestamp64Milli(at)::Float64 AS at FROM things ORDER BY id'),
    ).toEqual(values);
    const packing = createClient({ url: server.url, compression: { request: true, response: true } });
    await packing.insert({
      table: 'things',
      values: [{ id: 3, name: 'x'.repeat(100_000), at: 0 }],
      format: 'JSONEachRow',
    });
    const packed = await packing.query({ query: 'SELECT name FROM things WHERE id = 3', format: 'JSON' });
    expect((await packed.json<{ name: string }>()).data[0]?.name).toHaveLength(100_000);
    await packing.close();
  });

  it('binds parameters of every kind', async () => {
    const text = "a'b\\c\td\ne ☃ {x:String} --";
    const query =
      'SELECT {text:String} AS text, {number:UInt32} AS number, {list:Array(String)} AS list, {nothing:Nullable(String)} AS nothing, {map:Map(String, UInt8)} AS map, {at:DateTime64(3)} AS at';
    const query_params = {
      text,
      number: 42,
      list: ["it's", 'b\\', 'c,d'],
      nothing: null,
      map: { key: 1 },
      at: new Date('2026-11-21T06:00:00.123Z'),
    };
    expect(await rows(query, { query_params })).toEqual([
      {
        text,
        number: 42,
        list: ["it's", 'b\\', 'c,d'],
        nothing: null,
        map: { key: 1 },
        at: '2026-11-21 06:00:00.123',
      },
    ]);
    const multipart = await client.query({
      query,
      query_params,
      format: 'JSONEachRow',
      use_multipart_params: true,
    });
    expect(await multipart.json()).toMatchObject([{ text, number: 42 }]);
    await expect(rows('SELECT {missing:String}')).rejects.toMatchObject({ code: '456' });
  });

  it('keeps settings and databases to the request that names them', async () => {
    await client.command({ query: 'CREATE DATABASE other' });
    const url = new URL(server.url);
    url.pathname = '/other';
    const other = createClient({ url });
    const settings = { clickhouse_settings: { max_block_size: '1234' } };
    const query = "SELECT currentDatabase() AS name, getSetting('max_block_size')::UInt32 AS size";
    const told = await other.query({ query, format: 'JSONEachRow', ...settings });
    expect(await told.json()).toEqual([{ name: 'other', size: 1234 }]);
    expect(await rows(query)).toEqual([{ name: 'default', size: 65409 }]);
    await other.close();
    await expect(
      client.query({ query: 'SELECT 1', clickhouse_settings: Object.fromEntries([['max_thread', 1]]) }),
    ).rejects.toMatchObject({ code: '115' });
  });

  it("tells errors in the client's own words", async () => {
    const failure = await rows('SELECT * FROM nowhere').catch((error: unknown) => error);
    expect(failure).toBeInstanceOf(ClickHouseError);
    expect(failure).toMatchObject({ code: '60', type: 'UNKNOWN_TABLE' });
    await expect(client.command({ query: 'nonsense' })).rejects.toMatchObject({
      code: '62',
      type: 'SYNTAX_ERROR',
    });
    await expect(
      client.insert({ table: 'nowhere', values: [{ id: 1 }], format: 'JSONEachRow' }),
    ).rejects.toMatchObject({ code: '60' });
    await expect(client.query({ query: 'SELECT 1', session_id: 'one' })).rejects.toMatchObject({
      code: '48',
    });
  });

  it('streams a large answer, and stops where the client leaves', async () => {
    const result = await client.query({
      query: 'SELECT number FROM numbers(2000000)',
      format: 'JSONEachRow',
    });
    let count = 0;
    for await (const batch of result.stream()) count += batch.length;
    expect(count).toBe(2_000_000);

    const endless = await client.query({ query: 'SELECT number FROM system.numbers', format: 'JSONEachRow' });
    for await (const batch of endless.stream()) {
      expect(batch.length).toBeGreaterThan(0);
      break;
    }
    // As many as read at once: a turn that was not given back would leave one of these waiting.
    for (let round = 0; round < 4; round += 1) {
      const abort = new AbortController();
      const left = client.query({
        query: 'SELECT max(number) FROM system.numbers',
        abort_signal: abort.signal,
      });
      abort.abort();
      await expect(left).rejects.toThrow();
    }
    expect(await rows('SELECT 1 AS one')).toEqual([{ one: 1 }]);
  });

  it('breaks the answer where a query fails in its midst', async () => {
    const query = 'SELECT throwIf(number = 1500000) FROM numbers(2000000)';
    const reading = async (): Promise<void> => {
      const result = await client.query({
        query,
        format: 'JSONEachRow',
        clickhouse_settings: { max_threads: 1 },
      });
      for await (const _ of result.stream());
    };
    await expect(reading()).rejects.toThrow();
  });

  it('serves many at once', async () => {
    const many = Array.from({ length: 60 }, (_, index) =>
      rows('SELECT {n:UInt32} AS n', { query_params: { n: index } }),
    );
    expect(await Promise.all(many)).toEqual(Array.from({ length: 60 }, (_, index) => [{ n: index }]));
  });

  it('has every acknowledged row after kill -9, and after SIGTERM, and ends with status 0', async () => {
    await client.command({ query: 'CREATE TABLE kept (id UInt32) ORDER BY id' });
    for (const signal of ['SIGKILL', 'SIGTERM'] as const) {
      await client.insert({ table: 'kept', values: [{ id: 1 }, { id: 2 }], format: 'JSONEachRow' });
      await server.signal(signal);
      expect(server.exitCode).toBe(signal === 'SIGKILL' ? null : 0);
      await server.start();
    }
    expect(await rows('SELECT count()::UInt32 AS count FROM kept')).toEqual([{ count: 4 }]);
  });
});
