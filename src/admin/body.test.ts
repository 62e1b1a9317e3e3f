import { expect, test } from 'vitest';
import { z } from 'zod';
import { parseInput } from './body.ts';

test.each([{ search: 'a\0' }, { labels: { 'x\0': 'y' } }, [['deep', { down: ['\0'] }]]])(
  'what Postgres takes in no text is refused before it is asked: %j',
  (input) => {
    expect(() => parseInput(z.unknown(), input)).toThrow('U+0000');
    expect(parseInput(z.unknown(), { text: String.raw`\u0000 and \0` })).toBeDefined();
  },
);
