import { describe, expect, it, vi } from 'vitest';
import { WitnessRing } from './witness-ring.ts';

function ringOf({ maxBytes = 1000, maxAgeMs = 100 } = {}) {
  const clock = { now: 0 };
  const onDropped = vi.fn<(bytes: number) => void>();
  const ring = new WitnessRing({ maxBytes, maxAgeMs, now: () => clock.now, onDropped });
  const found = async (id: string, forMs = 0): Promise<string[]> =>
    (await ring.find(new Set([id]), forMs)).map(({ bytes }) => bytes.toString());
  return { ring, clock, onDropped, found };
}

const about = (id: string, more = ''): Buffer => Buffer.from(`{"intentId":"${id}"}${more}`);

describe('WitnessRing', () => {
  it('finds the messages about a request, in their order', async () => {
    const { ring, found } = ringOf();
    for (const more of ['periodic', 'end']) {
      ring.push(about('1-0', more));
      ring.push(about('2-0', more));
    }
    expect(await found('1-0')).toEqual(['{"intentId":"1-0"}periodic', '{"intentId":"1-0"}end']);
    expect(await found('3-0')).toEqual([]);
  });

  it('finds only what came long enough ago', async () => {
    const { ring, clock, found } = ringOf();
    ring.push(about('1-0', 'early'));
    clock.now = 50;
    ring.push(about('1-0', 'late'));
    clock.now = 70;
    expect(await found('1-0', 30)).toEqual(['{"intentId":"1-0"}early']);
    expect(await found('1-0', 20)).toHaveLength(2);
  });

  it('keeps no more bytes than it may, and tells what it dropped before its time', async () => {
    const { ring, onDropped, found } = ringOf({ maxBytes: 100 });
    ring.push(about('1-0', 'x'.repeat(40)));
    ring.push(about('2-0', 'x'.repeat(40)));
    expect(onDropped).toHaveBeenCalledExactlyOnceWith(58);
    expect(ring.bytes).toBe(58);
    expect(await found('1-0')).toEqual([]);
    expect(await found('2-0')).toHaveLength(1);
    ring.push(about('3-0', 'x'.repeat(200)));
    expect(ring.bytes).toBe(0);
  });

  it('keeps nothing longer than it is of use', async () => {
    const { ring, clock, onDropped, found } = ringOf({ maxAgeMs: 100 });
    ring.push(about('1-0'));
    clock.now = 101;
    ring.push(about('2-0'));
    expect(await found('1-0')).toEqual([]);
    expect(ring.bytes).toBe(about('2-0').length);
    expect(onDropped).not.toHaveBeenCalled();
  });

  it('holds on to nothing but the message', async () => {
    const { ring, found } = ringOf();
    const received = about('1-0');
    ring.push(received);
    received.fill(0);
    expect(await found('1-0')).toHaveLength(1);
  });

  it('lets others have a turn while it looks through much', async () => {
    const { ring, found } = ringOf({ maxBytes: 64 * 1024 * 1024 });
    const one = about('1-0', 'x'.repeat(1024 * 1024));
    for (let index = 0; index < 32; index += 1) ring.push(one);
    let turns = 0;
    const turn = setInterval(() => (turns += 1), 0);
    const search = found('1-0');
    ring.push(about('1-0', 'pushed meanwhile'));
    expect(await search).toHaveLength(33);
    clearInterval(turn);
    expect(turns).toBeGreaterThan(1);
  });
});
