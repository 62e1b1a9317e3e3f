import { setImmediate as pause } from 'node:timers/promises';

const TURN_MS = 5;

/** The same items in their order, with a turn for everybody else whenever some milliseconds have gone into them. */
export async function* inTurns<Item>(items: Iterable<Item>): AsyncGenerator<Item> {
  let until = performance.now() + TURN_MS;
  for (const item of items) {
    yield item;
    if (performance.now() < until) continue;
    await pause();
    until = performance.now() + TURN_MS;
  }
}
