import { describe, expect, it } from 'vitest';
import type { SnapshotLimit } from '../../core/limits.ts';
import { principal, request, rule } from './__fixtures__/limits.ts';
import type { LimitedRequest } from './rules.ts';
import { clientAddress, counterPart, subjectsOf, workflowOf } from './subjects.ts';

function subjects(more: Partial<SnapshotLimit>, over: Partial<LimitedRequest> = {}) {
  return subjectsOf(rule('a', more), request(over));
}

describe('subjectsOf', () => {
  it.each<[SnapshotLimit['per'], Partial<LimitedRequest>, readonly string[]]>([
    ['user', {}, ['ada']],
    ['key', {}, ['key-1']],
    // The tokens of an issuer share one key id: a rule per key would count them together.
    ['key', { principal: principal({ kind: 'token', keyId: 'token/corp' }) }, []],
    ['team', {}, []],
    ['team', { principal: principal({ team: 'red' }) }, ['red']],
    ['tenant', { principal: principal({ tenant: 'blue' }) }, ['blue']],
    ['model', {}, ['fast']],
    ['backend', {}, []],
    ['backend', { backend: 'wiki' }, ['wiki']],
    ['address', {}, ['192.0.2.1']],
    ['address', { address: undefined }, []],
    ['workflow', {}, []],
    ['workflow', { workflow: 'w1' }, ['ada/w1']],
    ['everybody', {}, ['everybody']],
  ])('per %s of %j', (per, over, expected) => {
    expect(subjects({ per }, over).map(({ subject }) => subject)).toEqual(expected);
  });

  it('counts each provider that may answer apart, by the name of its resource', () => {
    expect(subjects({ per: 'provider' })).toEqual([
      { subject: 'openai', providers: ['openai'] },
      { subject: 'azure', providers: ['azure@blue'] },
    ]);
    expect(subjects({ per: 'provider', match: { providers: ['a*'] } })).toEqual([
      { subject: 'azure', providers: ['azure@blue'] },
    ]);
  });

  it('binds a rule to the providers that it names, unless they are all', () => {
    expect(subjects({ match: { providers: ['azure'] } })).toEqual([
      { subject: 'ada', providers: ['azure@blue'] },
    ]);
    expect(subjects({ match: { providers: ['*'] } })).toEqual([{ subject: 'ada', providers: undefined }]);
  });

  it('lets nobody name another one’s workflow', () => {
    const of = (user: string, workflow: string) =>
      subjects({ per: 'workflow' }, { principal: principal({ user }), workflow });
    expect(of('a/b', 'c')).not.toEqual(of('a', 'b/c'));
    expect(of('a%2Fb', 'c')).not.toEqual(of('a/b', 'c'));
  });
});

describe('counterPart', () => {
  it('keeps short names and hashes long ones, so that no name is taken for a hash', () => {
    expect(counterPart('ada')).toBe('ada');
    const long = counterPart('x'.repeat(201));
    expect(long).toMatch(/^#[0-9a-f]{64}$/);
    expect(counterPart(long)).not.toBe(long);
  });
});

describe('workflowOf', () => {
  const headers = (all: Record<string, string>) => (name: string) => all[name];
  const names = ['x-workflow-id', 'traceparent'];

  it('takes the first header that there is', () => {
    expect(workflowOf(headers({}), names)).toBeUndefined();
    expect(workflowOf(headers({ 'x-workflow-id': ' w ' }), names)).toBe('w');
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    expect(workflowOf(headers({ 'x-workflow-id': '', traceparent }), names)).toBe(
      '4bf92f3577b34da6a3ce929d0e0e4736',
    );
    expect(workflowOf(headers({ traceparent: 'nonsense' }), names)).toBeUndefined();
  });

  it('bounds what a client calls it', () => {
    expect(workflowOf(headers({ 'x-workflow-id': 'w'.repeat(5000) }), names)).toHaveLength(65);
  });
});

describe('clientAddress', () => {
  it.each<[string | undefined, number, string | undefined]>([
    ['192.0.2.1', 0, '192.0.2.1'],
    // What stands before Envoy's own entry, its peer's, is the client's word.
    ['6.6.6.6, 192.0.2.1', 0, '192.0.2.1'],
    ['6.6.6.6, 192.0.2.1, 10.0.0.1', 1, '192.0.2.1'],
    ['192.0.2.1', 2, '192.0.2.1'],
    ['192.0.2.1:5555, 10.0.0.1', 1, '192.0.2.1'],
    ['nonsense, 10.0.0.1', 1, '10.0.0.1'],
    ['2001:db8:1:2:aaaa:bbbb:cccc:dddd', 0, '2001:db8:1:2::/64'],
    ['[2001:db8:1:2::9]:443', 0, '2001:db8:1:2::/64'],
    ['::ffff:192.0.2.1', 0, '192.0.2.1'],
    ['nonsense', 0, undefined],
    [undefined, 0, undefined],
  ])('of %j behind %i', (forwardedFor, hops, expected) => {
    expect(clientAddress(forwardedFor, hops)).toBe(expected);
  });
});
