import { describe, expect, it } from 'vitest';
import { formatIssue } from '../load/issue.ts';
import { validateResource } from '../load/validate.ts';

function problemsOf(spec: object): string[] {
  const { issues } = validateResource({
    apiVersion: 'limen.dev/v1alpha1',
    kind: 'Backend',
    metadata: { name: 'b' },
    spec,
  });
  return issues.map(({ issue }) => formatIssue(issue).replace('Backend/b ', ''));
}

const URL_OF = { url: 'https://service.example/base' };

describe('the schema of Backend', () => {
  it.each([
    [URL_OF],
    [{ url: 'http://10.0.0.7:3000' }],
    [
      {
        ...URL_OF,
        credential: { env: 'SERVICE_KEY' },
        credentialHeader: { name: 'x-token', prefix: 'Token ' },
        tls: { caFile: '/ca.pem', serverName: 'service.internal' },
        timeoutSeconds: 30,
        access: { groups: ['staff'], features: ['plan:pro'] },
        routes: [
          { pathPrefix: '/', methods: ['GET'] },
          { pathPrefix: '/v1/users/', access: { scopes: ['users.read'] } },
        ],
        identityHeaders: true,
        identityQuery: { user: 'user', 'x.mail': 'email' },
        webSocket: true,
        stripPrefix: false,
        cookies: true,
      },
    ],
  ])('takes %j', (spec) => {
    expect(problemsOf(spec)).toEqual([]);
  });

  it.each([
    [{}, 'spec.url'],
    [{ url: 'ftp://service.example' }, 'spec.url'],
    [{ url: 'https://u:p@service.example' }, 'spec.url'],
    [{ url: 'https://service.example/?a=1' }, 'spec.url'],
    [{ url: 'http://169.254.169.254/latest' }, 'metadata service'],
    [{ url: 'http://[fd00:ec2::254]' }, 'metadata service'],
    [{ ...URL_OF, credentialHeader: { name: 'Authorization' } }, 'spec.credentialHeader.name'],
    [{ ...URL_OF, credentialHeader: { name: 'host' } }, 'spec.credentialHeader.name'],
    [{ ...URL_OF, credentialHeader: { name: 'x-limen-cluster' } }, 'spec.credentialHeader.name'],
    [{ ...URL_OF, credentialHeader: { name: 'x-user-id' } }, 'spec.credentialHeader.name'],
    [{ ...URL_OF, credentialHeader: { prefix: 'a\r\nb' } }, 'spec.credentialHeader.prefix'],
    [{ ...URL_OF, routes: [{ pathPrefix: 'v1' }] }, 'spec.routes[0].pathPrefix'],
    [{ ...URL_OF, routes: [{ pathPrefix: '/a/../b' }] }, 'spec.routes[0].pathPrefix'],
    [{ ...URL_OF, routes: [{ pathPrefix: '/a;b' }] }, 'spec.routes[0].pathPrefix'],
    [{ ...URL_OF, routes: [{ pathPrefix: '/%61' }] }, 'spec.routes[0].pathPrefix'],
    [{ ...URL_OF, routes: [{ pathPrefix: '//a' }] }, 'spec.routes[0].pathPrefix'],
    [{ ...URL_OF, routes: [{ pathPrefix: '/', methods: ['get'] }] }, 'spec.routes[0].methods[0]'],
    [{ ...URL_OF, routes: [{ pathPrefix: '/', access: { scopes: [] } }] }, 'spec.routes[0].access.scopes'],
    [{ ...URL_OF, access: { role: ['x'] } }, 'spec.access.role'],
    [{ ...URL_OF, identityQuery: { user: 'password' } }, 'spec.identityQuery.user'],
    [{ ...URL_OF, identityQuery: { 'a&b': 'user' } }, 'spec.identityQuery'],
  ])('refuses %j', (spec, where) => {
    expect(problemsOf(spec).join()).toContain(where);
  });
});
