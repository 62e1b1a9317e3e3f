import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { LimenError } from '../../core/errors.ts';
import { editTopLevel } from './edit.ts';
import { isObject, omit, parseJson } from './parse.ts';
import { findMember, readMember, scanTopLevel } from './scan.ts';

const GUARDED = new Set(['model', 'stream']);
const NONE = new Set<string>();

function errorOf(action: () => unknown): LimenError {
  try {
    action();
  } catch (error) {
    if (error instanceof LimenError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

const scan = (text: string) => scanTopLevel(Buffer.from(text), GUARDED);

/** JSON text of an object with free white space, escapes and odd numbers. */
const space = fc.constantFrom('', '', ' ', '\n  ', '\t', '\r\n');
const { text: valueText } = fc.letrec<{ text: string }>((tie) => ({
  text: fc.oneof(
    { maxDepth: 3 },
    fc.constantFrom('1', '-0', '1.50', '1e400', '12345678901234567890', 'true', 'false', 'null', '""'),
    fc.string({ unit: 'grapheme' }).map((value) => JSON.stringify(value)),
    fc.constantFrom('"\\u0041\\"\\\\"', '"\\ud83c\\udf5c"', '"]}{[,:"'),
    fc
      .tuple(space, fc.array(tie('text'), { maxLength: 3 }))
      .map(([s, items]) => `[${s}${items.join(`${s},`)}${s}]`),
    fc
      .tuple(space, fc.array(fc.tuple(fc.string(), tie('text')), { maxLength: 3 }))
      .map(
        ([s, members]) =>
          `{${s}${members.map(([k, v]) => `${JSON.stringify(k)}${s}:${v}`).join(`,${s}`)}${s}}`,
      ),
  ),
}));
const keys = fc.oneof(fc.constantFrom('model', 'stream', '__proto__', 'constructor', 'a"b'), fc.string());
const objectText = fc
  .tuple(fc.uniqueArray(fc.tuple(keys, valueText, space), { maxLength: 6, selector: ([key]) => key }), space)
  .map(([members, s]) => ({
    text: `${s}{${s}${members.map(([k, v, m]) => `${JSON.stringify(k)}${m}:${m}${v}${m}`).join(`,${s}`)}${s}}${s}`,
    members,
  }));

describe('scanning', () => {
  it('takes what JSON.parse takes and refuses what it refuses', () => {
    const texts = fc.oneof(
      objectText.map(({ text }) => text),
      fc
        .tuple(objectText, fc.nat(), fc.constantFrom(',', '"', '}', '0', '\\', 'x', '\u{1}', ''))
        .map(([{ text }, place, insert]) => {
          const at = place % (text.length + 1);
          return text.slice(0, at) + insert + text.slice(at + 1);
        }),
    );
    fc.assert(
      fc.property(texts, (text) => {
        // What JSON.parse sees must be what the bytes say: Buffer.from replaces lone surrogates.
        const body = Buffer.from(text);
        const succeeds = (action: () => unknown): boolean => {
          try {
            return action() !== false;
          } catch {
            return false;
          }
        };
        const parsed = succeeds(() => isObject(JSON.parse(body.toString())));
        expect(succeeds(() => scanTopLevel(body, NONE))).toBe(parsed);
      }),
      { numRuns: 1000 },
    );
  });

  it('finds members with escaped keys', () => {
    const body = Buffer.from('{"mod\\u0065l" : "x", "stream":true}');
    const topLevel = scanTopLevel(body, GUARDED);
    expect(readMember(body, topLevel, 'model')).toBe('x');
    expect(findMember(topLevel, 'stream')?.valueStart).toBe(30);
  });

  it.each([
    '',
    '[]',
    '"x"',
    '{',
    '{"a":01}',
    '{"a":1,}',
    '{"a":1}x',
    '{"a":.5}',
    '{a:1}',
    '{"a":"\u{1}"}',
    '{"a":tru}',
  ])('answers bad_json to %j', (text) => {
    expect(errorOf(() => scan(text))).toMatchObject({ code: 'bad_json', status: 400 });
  });

  it('answers bad_json to bytes that are no UTF-8', () => {
    const body = Buffer.concat([Buffer.from('{"a":"'), Buffer.from([0xff]), Buffer.from('"}')]);
    expect(errorOf(() => scanTopLevel(body, NONE)).code).toBe('bad_json');
  });

  it.each([
    '{"model":"a","model":"b"}',
    '{"model":"a","m\\u006fdel":"b"}',
    '{"model":"a","Model":"b"}',
    '{"\u{17f}tream":true}',
  ])('refuses keys that another parser may read otherwise: %s', (text) => {
    expect(errorOf(() => scan(text)).code).toBe('invalid_request');
  });

  it('refuses nesting that would exhaust a parser', () => {
    expect(errorOf(() => scan(`{"a":${'['.repeat(100_000)}`)).code).toBe('invalid_request');
  });
});

describe('editing in place', () => {
  const edits = fc.dictionary(
    fc.constantFrom('model', 'stream', 'new', '__proto'),
    fc.option(valueText, { nil: undefined }),
  );

  it('changes the value and not one other byte', () => {
    fc.assert(
      fc.property(objectText, edits, ({ text, members }, changes) => {
        const body = Buffer.from(text);
        const result = editTopLevel(body, scanTopLevel(body, NONE), new Map(Object.entries(changes)));
        const expected = new Map(members.map(([key, value]) => [key, value]));
        for (const [key, value] of Object.entries(changes)) {
          if (value === undefined) expected.delete(key);
          else expected.set(key, value);
        }
        const topLevel = scanTopLevel(result, NONE);
        const found = new Map(
          topLevel.members.map((m) => [m.key, result.toString('utf8', m.valueStart, m.valueEnd)]),
        );
        expect(found).toEqual(expected);
        JSON.parse(result.toString());
        const touchesNothing = Object.keys(changes).every(
          (key) => changes[key] === undefined && !members.some(([present]) => present === key),
        );
        expect(result.equals(body) || !touchesNothing).toBe(true);
      }),
      { numRuns: 500 },
    );
  });

  it('keeps order, white space and big numbers', () => {
    const body = Buffer.from('{ "id":12345678901234567890,\n "model" : "a" , "x":1.0, "stream":null }\n');
    const edit = new Map([
      ['model', '"b"'],
      ['stream', undefined],
      ['new', '{"y":1}'],
    ]);
    expect(editTopLevel(body, scanTopLevel(body, GUARDED), edit).toString()).toBe(
      '{ "id":12345678901234567890,\n "model" : "b" , "x":1.0,"new":{"y":1} }\n',
    );
  });

  it('removes first, middle, last and all members, and fills an empty object', () => {
    const remove = (text: string, ...names: string[]): string => {
      const body = Buffer.from(text);
      return editTopLevel(
        body,
        scanTopLevel(body, NONE),
        new Map(names.map((name) => [name, undefined])),
      ).toString();
    };
    expect(remove('{"a":1,"b":2,"c":3}', 'a')).toBe('{"b":2,"c":3}');
    expect(remove('{"a":1,"b":2,"c":3}', 'b')).toBe('{"a":1,"c":3}');
    expect(remove('{"a":1,"b":2,"c":3}', 'b', 'c')).toBe('{"a":1}');
    expect(remove('{ "a":1, "b":2 }', 'a', 'b')).toBe('{ }');
    const empty = Buffer.from('{ }');
    expect(editTopLevel(empty, scanTopLevel(empty, NONE), new Map([['a', '1']])).toString()).toBe('{"a":1 }');
  });
});

describe('parsing', () => {
  it('keeps numbers that a double cannot hold', () => {
    const text = '{"a":12345678901234567890,"b":[0.1234567890123456789],"c":12,"d":9007199254740992}';
    expect(JSON.stringify(parseJson(text))).toBe(text);
  });

  it('copies objects with keys of the prototype without harm', () => {
    const value = parseJson('{"__proto__":{"polluted":1},"constructor":2,"x":3}');
    const copy = isObject(value) ? omit(value, new Set(['x'])) : {};
    expect(JSON.stringify(copy)).toBe('{"__proto__":{"polluted":1},"constructor":2}');
    expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false);
  });
});
