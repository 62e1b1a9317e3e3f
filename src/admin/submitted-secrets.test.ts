import { describe, expect, it } from 'vitest';
import { providerSchema, type ProviderResource } from '../config/resources/provider.ts';
import { withKeptSecret } from './submitted-secrets.ts';

function provider(tenants: object): ProviderResource {
  return providerSchema.parse({
    apiVersion: 'limen.dev/v1alpha1',
    kind: 'Provider',
    metadata: { name: 'openai' },
    spec: { type: 'openai', credential: { value: '(hidden)' }, tenants },
  });
}

const stored: ProviderResource = {
  ...provider({ acme: { credential: { value: 'of-acme' } }, other: { credential: { value: 'of-other' } } }),
};
const before = [
  {
    resource: { ...stored, spec: { ...stored.spec, credential: { value: 'shared' } } },
    origin: { source: 'database', generation: 1 } as const,
  },
];

describe('what was shown as hidden and sent back', () => {
  it("is each tenant's own secret as it was, beside new ones", () => {
    const sent = provider({
      acme: { credential: { value: '(hidden)' }, baseUrl: 'https://acme.example' },
      other: { credential: { value: 'new' } },
    });
    expect(withKeptSecret(sent, before)).toMatchObject({
      spec: {
        credential: { value: 'shared' },
        tenants: {
          acme: { credential: { value: 'of-acme' }, baseUrl: 'https://acme.example' },
          other: { credential: { value: 'new' } },
        },
      },
    });
  });

  it('is nothing for a tenant that was not there', () => {
    const sent = provider({ third: { credential: { value: '(hidden)' } } });
    expect(withKeptSecret(sent, before)).toBeUndefined();
  });
});
