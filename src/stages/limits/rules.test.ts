import { describe, expect, it } from 'vitest';
import type { LimitMatch } from '../../core/limits.ts';
import { principal, request, rule, snapshotOf } from './__fixtures__/limits.ts';
import { rulesFor, type LimitedRequest } from './rules.ts';

function names(match: LimitMatch, over: Partial<LimitedRequest> = {}): readonly string[] {
  return rulesFor(snapshotOf([rule('only', { match })]), request(over)).map(({ name }) => name);
}

describe('rulesFor', () => {
  it.each<[LimitMatch, Partial<LimitedRequest>]>([
    [{}, {}],
    [{ users: ['ada'] }, {}],
    [{ users: ['bob', 'a*'] }, {}],
    [{ keys: ['key-1'] }, {}],
    [{ teams: ['red'] }, { principal: principal({ team: 'red' }) }],
    [{ tenants: ['b*'] }, { principal: principal({ tenant: 'blue' }) }],
    [{ groups: ['x', 'y'] }, { principal: principal({ groups: ['z', 'y'] }) }],
    [{ roles: ['developer'] }, { principal: principal({ roles: ['developer'] }) }],
    [{ features: ['plan:*'] }, { principal: principal({ features: ['plan:pro'] }) }],
    [{ models: ['fast'] }, {}],
    [{ providers: ['azure'] }, {}],
    [{ backends: ['wiki'] }, { surface: 'backend', model: undefined, backend: 'wiki', providers: [] }],
    [{ surfaces: ['model', 'mcp'] }, {}],
    [{ users: ['ada'], models: ['f*'], surfaces: ['model'] }, {}],
  ])('finds %j', (match, over) => {
    expect(names(match, over)).toEqual(['only']);
  });

  it.each<[LimitMatch, Partial<LimitedRequest>]>([
    [{ users: ['bob'] }, {}],
    [{ users: ['Ada'] }, {}],
    [{ teams: ['*'] }, {}],
    [{ groups: ['x'] }, { principal: principal({ groups: ['y'] }) }],
    [{ users: ['ada'], models: ['slow'] }, {}],
    [{ providers: ['azure@blue'] }, {}],
    [{ backends: ['*'] }, {}],
    [{ surfaces: ['backend'] }, {}],
  ])('leaves out %j', (match, over) => {
    expect(names(match, over)).toEqual([]);
  });

  it('finds each rule once, in the order of their names', () => {
    const limits = [
      rule('a', { match: { groups: ['x', 'y'] } }),
      rule('b'),
      rule('c', { match: { users: ['ada'] } }),
    ];
    const found = rulesFor(snapshotOf(limits), request({ principal: principal({ groups: ['x', 'y'] }) }));
    expect(found.map(({ name }) => name)).toEqual(['a', 'b', 'c']);
  });

  it('looks at a handful of 2,000 rules, in microseconds', () => {
    const limits = [
      ...Array.from({ length: 1000 }, (_, index) =>
        rule(`u${index}`, { match: { users: [`user-${index}`] } }),
      ),
      ...Array.from({ length: 700 }, (_, index) =>
        rule(`t${index}`, { match: { teams: [`team-${index}`], models: ['f*'] } }),
      ),
      ...Array.from({ length: 290 }, (_, index) =>
        rule(`g${index}`, { match: { groups: [`group-${index}`] } }),
      ),
      ...Array.from({ length: 10 }, (_, index) => rule(`p${index}`, { match: { users: [`${index}*`] } })),
    ];
    const snapshot = snapshotOf(limits);
    const groups = ['group-3', 'group-200', 'other'];
    const asked = request({ principal: principal({ user: 'user-7', team: 'team-8', groups }) });
    expect(rulesFor(snapshot, asked).map(({ name }) => name)).toEqual(['u7', 't8', 'g3', 'g200']);
    const rounds = 20_000;
    for (let round = 0; round < rounds; round += 1) rulesFor(snapshot, asked);
    const started = process.cpuUsage();
    for (let round = 0; round < rounds; round += 1) rulesFor(snapshot, asked);
    const micros = process.cpuUsage(started).user / rounds;
    expect(micros).toBeLessThan(25);
  });

  it('remembers for a principal what was found, apart for whatever else rules may be about', () => {
    const limits = [
      rule('fast', { match: { models: ['fa*'] } }),
      rule('slow', { match: { models: ['slow'] } }),
      rule('green', { match: { providers: ['green'] } }),
      rule('agents', { match: { surfaces: ['a2a'] } }),
    ];
    const snapshot = snapshotOf(limits);
    const one = principal({});
    const green = [{ name: 'green@blue', resource: 'green' }];
    const cases = [
      [{ model: 'fast' }, ['fast']],
      [{ model: 'slow' }, ['slow']],
      [{ model: 'slow', providers: green }, ['slow', 'green']],
      [{ model: 'slow', surface: 'a2a' }, ['slow', 'agents']],
      [{ model: 'other', backend: 'slow' }, []],
    ] as const;
    for (const round of ['first', 'again']) {
      for (const [over, names] of cases) {
        const found = rulesFor(snapshot, request({ principal: one, ...over }));
        expect([round, ...found.map(({ name }) => name)]).toEqual([round, ...names]);
      }
    }
  });

  it('looks at many rules by pattern once for each principal', () => {
    const limits = Array.from({ length: 2000 }, (_, index) =>
      rule(`g${index}`, { match: { groups: [`${index}-*`], models: ['*'] } }),
    );
    const snapshot = snapshotOf(limits);
    const asked = request({ principal: principal({ groups: ['7-a', 'b', 'c', 'd'] }) });
    const rounds = 20_000;
    rulesFor(snapshot, asked);
    const started = process.cpuUsage();
    for (let round = 0; round < rounds; round += 1) rulesFor(snapshot, asked);
    expect(process.cpuUsage(started).user / rounds).toBeLessThan(25);
  });
});
