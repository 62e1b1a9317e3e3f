import { afterAll, beforeAll, expect, test } from 'vitest';
import type { ClientFormatName } from '../../src/formats/hub.ts';
import { CLIENT_KEY, startDataPlane, type DataPlane } from '../support/data-plane.ts';
import { request, seededRandom } from '../support/data-plane/requests.ts';
import {
  anthropic,
  type Dialect,
  openai,
  resetBeforeHeaders,
  type ScriptedUpstream,
  startUpstream,
} from '../support/upstream/index.ts';

const REQUESTS = 200;
const MIB = 1_048_576;

let plane: DataPlane;
let open: ScriptedUpstream;
let anth: ScriptedUpstream;

/** So many may be tried again at once, however few are open: more than that is an outage, and is told to the client. */
const MOST_FAILED_AT_ONCE = 8;
let failures = 0;
/** Of each upstream, requests that were failed and have not come again. */
const failed = new Map<ScriptedUpstream, Set<string>>();

/** Fails one request in five, each in its way; says back which request it was. */
function unreliable(upstream: ScriptedUpstream, dialect: Dialect): void {
  let count = 0;
  const own = new Set<string>();
  failed.set(upstream, own);
  upstream.always(async (exchange) => {
    const body = (await exchange.request.received).toString();
    const id = exchange.request.header('x-client-request-id') ?? '';
    for (const ids of failed.values()) ids.delete(id);
    count += 1;
    if (count % 5 === 0 && own.size < MOST_FAILED_AT_ONCE) {
      own.add(id);
      failures += 1;
      return count % 10 === 0 ? dialect.error(500)(exchange) : resetBeforeHeaders()(exchange);
    }
    const marker = /marker-\d+-/.exec(body)?.[0] ?? 'none';
    return dialect.answer({ text: ['for ', marker, ' '] })(exchange);
  });
}

beforeAll(async () => {
  [open, anth] = await Promise.all([startUpstream(), startUpstream()]);
  unreliable(open, openai);
  unreliable(anth, anthropic);
  plane = await startDataPlane({
    workers: 2,
    gateway: { retries: { attempts: 6 } },
    providers: {
      open: { type: 'openai', baseUrl: `${open.url}/v1`, credential: 'sk-open' },
      anth: { type: 'anthropic', baseUrl: `${anth.url}/v1`, credential: 'sk-anth' },
    },
    models: {
      gpt: { targets: [{ provider: 'open' }] },
      claude: { targets: [{ provider: 'anth' }] },
      mixed: { targets: [{ provider: 'open' }, { provider: 'anth' }] },
    },
  });
});
afterAll(async () => {
  await plane.stop();
  await Promise.all([open.close(), anth.close()]);
});

test(`${REQUESTS} requests of every kind at once: each gets its own answer and one row, nothing is left`, async () => {
  const random = seededRandom(42);
  const pick = <Item>(...items: readonly [Item, ...Item[]]): Item =>
    items[Math.floor(random() * items.length)] ?? items[0];
  const one = async (index: number): Promise<string> => {
    const format = pick<ClientFormatName>('chat', 'messages');
    const stream = pick(true, false);
    const marker = `marker-${index}-`;
    const content = marker + 'x'.repeat(index % 25 === 0 ? MIB : 100);
    const answer = await plane.call(
      request(format, {
        model: pick('gpt', 'claude', 'mixed'),
        stream,
        content,
        ...(format === 'chat' && stream ? { includeUsage: pick(true, false) } : {}),
      }),
    );
    expect([index, answer.status, answer.complete]).toEqual([index, 200, true]);
    expect(answer.text).toContain(marker);
    expect([...answer.text.matchAll(/marker-\d+-/g)].map(([found]) => found)).toEqual([marker]);
    return String(answer.headers['x-request-id']);
  };
  const ids = await Promise.all(Array.from({ length: REQUESTS }, (_, index) => one(index)));
  expect(new Set(ids).size).toBe(REQUESTS);
  await plane.idle();
  const rows = await plane.settled(REQUESTS);
  expect(rows.map(({ requestId }) => requestId).sort()).toEqual([...ids].sort());
  expect(new Set(rows.map(({ errorCode }) => errorCode))).toEqual(new Set(['']));
  expect(new Set(rows.map(({ usageSource }) => usageSource))).toEqual(new Set(['provider']));
  expect(plane.intents).toHaveLength(REQUESTS);
  expect(plane.faults).toEqual([]);
  expect(failures).toBeGreaterThan(REQUESTS / 10);
  open.expectNotSent(CLIENT_KEY, 'sk-anth');
  anth.expectNotSent(CLIENT_KEY, 'sk-open');
  const active = await plane.stats('^(http.gateway.downstream|cluster.provider.*upstream)_rq_active$');
  for (const line of active.trim().split('\n')) expect(line).toMatch(/: 0$/);
});
