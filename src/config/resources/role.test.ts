import { describe, expect, it } from 'vitest';
import { formatIssue } from '../load/issue.ts';
import { validateResource } from '../load/validate.ts';

function problemsOf(kind: string, name: string, spec: object): string[] {
  const { issues } = validateResource({ apiVersion: 'limen.dev/v1alpha1', kind, metadata: { name }, spec });
  return issues.map(({ issue }) => formatIssue(issue));
}

describe('the schema of Role', () => {
  it('takes permissions and what they are about', () => {
    const spec = { permissions: ['models:use', 'requests:read'], models: ['gpt-*'], groups: ['staff'] };
    expect(problemsOf('Role', 'writer', spec)).toEqual([]);
  });

  it('names what is allowed in the place of an unknown permission', () => {
    const [problem] = problemsOf('Role', 'writer', { permissions: ['models:usе'] });
    expect(problem).toContain('spec.permissions[0]');
    expect(problem).toContain('models:use');
    expect(problem).toContain('mcp:connect');
  });

  it.each(['super-admin', 'admin', 'team-manager', 'developer', 'viewer'])(
    'has no other role in the place of %s',
    (name) => {
      expect(problemsOf('Role', name, { permissions: ['models:use'] }).join()).toContain('built-in role');
    },
  );

  it('wants a permission', () => {
    expect(problemsOf('Role', 'writer', { permissions: [] })).toHaveLength(1);
  });
});

describe('the schema of Team', () => {
  it('takes members, managers, roles and bounds', () => {
    const spec = {
      members: ['ada'],
      groups: ['staff'],
      managers: ['bob'],
      roles: ['developer'],
      models: ['*'],
    };
    expect(problemsOf('Team', 'core', { ...spec, tenant: 'acme' })).toEqual([]);
  });

  it('takes no list of models that would allow nothing by an oversight', () => {
    expect(problemsOf('Team', 'core', { models: [] })).toHaveLength(1);
  });
});

describe('what a Model asks for', () => {
  it('takes no scope that a header could not name', () => {
    const spec = { targets: [{ provider: 'p' }], access: { scopes: ['a" b'] } };
    expect(problemsOf('Model', 'm', spec).join()).toContain('spec.access.scopes[0]');
  });
});
