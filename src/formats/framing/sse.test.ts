import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findDataRange, formatSseEvent, parseSseBlock, type SseEvent, SseSplitter } from './sse.ts';

function split(chunks: readonly Buffer[], maxEventBytes = 1024): Buffer[] {
  const blocks: Buffer[] = [];
  const splitter = new SseSplitter(maxEventBytes);
  for (const chunk of chunks) splitter.push(chunk, (block) => blocks.push(block));
  splitter.end((block) => blocks.push(block));
  return blocks;
}

function events(text: string): SseEvent[] {
  return split([Buffer.from(text)]).map(parseSseBlock);
}

/** Cuts bytes at the given places. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [0, ...places.map((place) => place % (bytes.length + 1)), bytes.length].sort(
    (a, b) => a - b,
  );
  return sorted.slice(1).map((end, index) => bytes.subarray(sorted[index], end));
}

describe('reading server-sent events', () => {
  it('reads name and data with LF, CR and CRLF', () => {
    for (const end of ['\n', '\r', '\r\n']) {
      expect(events(`event: a${end}data: 1${end}${end}data:2${end}${end}`)).toEqual([
        { event: 'a', data: '1' },
        { event: undefined, data: '2' },
      ]);
    }
  });

  it('joins data lines, passes over comments and unknown fields, and skips one space only', () => {
    expect(events(': hello\nid: 7\nretry: 1\ndata:  a\ndata\ndata: b\n\n')).toEqual([
      { event: undefined, data: ' a\n\nb' },
    ]);
  });

  it('passes over a byte order mark', () => {
    expect(events('\u{feff}data: x\n\n')).toEqual([{ event: undefined, data: 'x' }]);
  });

  it('does not take data of a longer field name', () => {
    expect(events('database: x\n\n')).toEqual([{ event: undefined, data: undefined }]);
  });

  it('hands out a last event without its blank line', () => {
    expect(events('data: x')).toEqual([{ event: undefined, data: 'x' }]);
  });

  it('gives every split of the bytes the same blocks, which together are the stream', () => {
    const line = fc.constantFrom('data: {"a":"ü🍜"}', 'event: x', ': c', 'data:', '', '\u{feff}', 'id: 1');
    const stream = fc
      .array(fc.tuple(line, fc.constantFrom('\n', '\r', '\r\n')), { maxLength: 30 })
      .map((lines) => Buffer.from(lines.map(([text, end]) => text + end).join('')));
    fc.assert(
      fc.property(stream, fc.array(fc.nat(), { maxLength: 20 }), (bytes, places) => {
        const whole = split([bytes]);
        expect(split(cut(bytes, places))).toEqual(whole);
        expect(Buffer.concat(whole)).toEqual(bytes);
      }),
    );
  });

  it('refuses an endless line and an endless event, in one chunk or many', () => {
    const line = Buffer.alloc(600, 'x');
    expect(() => split([line, line])).toThrow(/more than 1024 bytes/);
    expect(() => split([Buffer.from(`data: ${'x'.repeat(2000)}\n\n`)])).toThrow(/more than 1024 bytes/);
    expect(() => split(Array.from({ length: 300 }, () => Buffer.from('data: 1\n')))).toThrow(/1024/);
  });

  it('reads a megabyte in one event when the limit allows it', () => {
    const data = 'x'.repeat(1_000_000);
    const block = Buffer.from(`data: ${data}\n\n`);
    const blocks = split(
      cut(
        block,
        Array.from({ length: 50 }, (_, index) => index * 20_000),
      ),
      2_000_000,
    );
    expect(blocks.map(parseSseBlock)).toEqual([{ event: undefined, data }]);
  });

  it('does not copy blocks that lie in one chunk', () => {
    const chunk = Buffer.from('data: 1\n\ndata: 2\n\n');
    for (const block of split([chunk])) expect(block.buffer).toBe(chunk.buffer);
  });
});

describe('editing and writing events', () => {
  it('finds the data of a block with one data line', () => {
    const block = Buffer.from('event: a\r\ndata: {"x":1}\r\n\r\n');
    const range = findDataRange(block);
    expect(block.subarray(range?.start, range?.end).toString()).toBe('{"x":1}');
    expect(findDataRange(Buffer.from('data: 1\ndata: 2\n\n'))).toBeUndefined();
  });

  it('reads back what it wrote', () => {
    const text = formatSseEvent('message_stop', '{"a":1}') + formatSseEvent(undefined, '[DONE]');
    expect(events(text)).toEqual([
      { event: 'message_stop', data: '{"a":1}' },
      { event: undefined, data: '[DONE]' },
    ]);
  });
});
