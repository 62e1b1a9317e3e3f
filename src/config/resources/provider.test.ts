import { describe, expect, it } from 'vitest';
import { formatIssue } from '../load/issue.ts';
import { validateResource } from '../load/validate.ts';

function problemsOf(spec: object): string[] {
  const { issues } = validateResource({
    apiVersion: 'limen.dev/v1alpha1',
    kind: 'Provider',
    metadata: { name: 'p' },
    spec,
  });
  return issues.map(({ issue }) => formatIssue(issue).replace('Provider/p ', ''));
}

describe('the schema of Provider', () => {
  it.each([
    [{ type: 'openai', apis: ['responses'] }],
    [{ type: 'openai-compatible', baseUrl: 'http://10.0.0.7:8000/v1', apis: ['chat', 'responses'] }],
    [{ type: 'azure-openai', baseUrl: 'https://n.openai.azure.com', apiVersion: '2025-04-01-preview' }],
    [{ type: 'vertex', project: 'example.com:my-project', location: 'us' }],
    [{ type: 'bedrock', region: 'us-gov-west-1', credential: { env: 'AWS_BEARER_TOKEN_BEDROCK' } }],
    [
      {
        type: 'bedrock',
        region: 'us-east-1',
        credential: {
          accessKeyId: { env: 'A' },
          secretAccessKey: { file: '/b' },
          sessionToken: { value: 'c' },
        },
      },
    ],
    [
      {
        type: 'bedrock',
        region: 'us-east-1',
        tenants: { acme: { credential: { accessKeyId: { env: 'A' }, secretAccessKey: { env: 'B' } } } },
        tenantsOnly: true,
        identityHeaders: true,
      },
    ],
    [
      {
        type: 'openai',
        subjectAsUser: true,
        tenants: { acme: { credential: { env: 'K' }, baseUrl: 'https://a.example/v1' } },
      },
    ],
  ])('takes %j', (spec) => {
    expect(problemsOf(spec)).toEqual([]);
  });

  it.each([
    [
      { type: 'openai-compatible' },
      'spec.baseUrl: is missing; type openai-compatible needs a URL such as http://127.0.0.1:8000/v1',
    ],
    [
      { type: 'azure-openai' },
      'spec.baseUrl: is missing; type azure-openai needs a URL such as https://NAME.openai.azure.com/openai/v1',
    ],
    [
      { type: 'vertex', location: 'global' },
      'spec.project: is missing; type vertex needs the ID of a Google Cloud project',
    ],
    [
      { type: 'gemini', subjectAsUser: true },
      'spec.subjectAsUser: true is not allowed; only for type openai, azure-openai, openai-compatible, anthropic',
    ],
    [{ type: 'bedrock' }, 'spec.region: is missing; type bedrock needs a region of AWS such as us-east-1'],
    [
      { type: 'openai', region: 'us-east-1' },
      'spec.region: "us-east-1" is not allowed; only for type bedrock',
    ],
    [{ type: 'gemini', project: 'p' }, 'spec.project: "p" is not allowed; only for type vertex'],
    [
      { type: 'anthropic', apis: ['chat'] },
      'spec.apis: a list is not allowed; only for type openai, azure-openai, openai-compatible',
    ],
    [
      { type: 'openai', apiVersion: '2024-10-21' },
      'spec.apiVersion: "2024-10-21" is not allowed; only for type azure-openai',
    ],
    [
      { type: 'openai', credential: { accessKeyId: { value: 'AKIA' }, secretAccessKey: { value: 'x' } } },
      'spec.credential: (hidden) is not allowed; accessKeyId only for type bedrock; exactly one of env, file and value',
    ],
    [
      { type: 'bedrock', region: 'evil.example/' },
      'spec.region: "evil.example/" is not allowed; lower-case letters, digits and dashes',
    ],
    [{ type: 'openai', apis: ['chat', 'chat'] }, 'spec.apis: a list is not allowed; each one once'],
  ])('refuses %j', (spec, problem) => {
    expect(problemsOf(spec)).toEqual([problem]);
  });

  it.each([
    'http://169.254.169.254/v1',
    'http://169.254.170.2/v1',
    'http://[fd00:ec2::254]/v1',
    'http://[::ffff:169.254.169.254]/v1',
    'http://0xa9fea9fe/v1',
    'http://[fe80::1]/v1',
  ])('refuses %s, where clouds serve credentials', (baseUrl) => {
    expect(problemsOf({ type: 'openai-compatible', baseUrl }).join()).toContain('metadata service');
  });

  it.each([
    [{ accessKeyId: { value: 'AKIA-very-secret' } }],
    [{ accessKeyId: { value: 'AKIA-very-secret' }, secretAccessKey: 'very-secret' }],
    [{ accessKeyId: { value: 'AKIA-very-secret' }, secretAccessKey: { valeu: 'very-secret' } }],
    [{ value: 'very-secret', env: 'A' }],
  ])('shows nothing of a credential that is wrong: %j', (credential) => {
    const problems = problemsOf({ type: 'bedrock', region: 'us-east-1', credential });
    expect(problems).not.toEqual([]);
    expect(problems.join()).not.toContain('very-secret');
  });
});

describe('the tenants of a Provider', () => {
  const credential = { env: 'KEY' };
  it.each([
    ['a metadata service', { acme: { credential, baseUrl: 'http://169.254.169.254/v1' } }, 'baseUrl'],
    ['a password in its URL', { acme: { credential, baseUrl: 'https://a:b@c.example' } }, 'baseUrl'],
    ['no credential', { acme: {} }, 'credential'],
    [
      'parts of an access key',
      { acme: { credential: { accessKeyId: credential, secretAccessKey: credential } } },
      'bedrock',
    ],
    ['a name with the separator', { 'a@b': { credential } }, 'tenants'],
    ['a name with a slash', { 'a/b': { credential } }, 'tenants'],
    ['a name that sealing takes for a secret', { credential: { credential } }, 'tenants'],
  ])('may not have %s', (_case, tenants, word) => {
    expect(problemsOf({ type: 'openai', tenants }).join()).toContain(word);
  });
});
