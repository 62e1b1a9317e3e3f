import { randomBytes } from 'node:crypto';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { WeakKeyError } from './keys.ts';
import { hideSecrets, isSpecStale, openSpec, sealSpec } from './sealed-spec.ts';
import { UnsealError, createVault } from './vault.ts';

const hex = () => randomBytes(32).toString('hex');
const place = { kind: 'Provider', name: 'openai', field: 'spec.credential.value' };

describe('createVault', () => {
  it('opens what it sealed, whatever the text', () => {
    const vault = createVault(hex(), 'a test');
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (secret) => {
        const sealed = vault.seal(secret, place);
        expect(sealed).toMatch(/^v1:[0-9a-f]{8}:[\w-]+$/);
        expect(vault.open(sealed, place)).toBe(secret);
      }),
    );
  });

  it('never seals the same text the same way', () => {
    const vault = createVault(hex(), 'a test');
    expect(vault.seal('secret', place)).not.toBe(vault.seal('secret', place));
  });

  it('opens nothing in another place, with another key, or after a change', () => {
    const key = hex();
    const vault = createVault(key, 'a test');
    const sealed = vault.seal('sk-secret', place);
    const refused = (open: () => string) => {
      expect(open).toThrow(new UnsealError());
      expect(open).not.toThrow(/sk-secret/);
    };
    for (const other of [{ kind: 'ApiKey' }, { name: 'other' }, { field: 'spec.other' }]) {
      refused(() => vault.open(sealed, { ...place, ...other }));
    }
    refused(() => createVault(hex(), 'a test').open(sealed, place));
    for (let index = 0; index < sealed.length; index += 1) {
      const changed = `${sealed.slice(0, index)}${sealed[index] === 'A' ? 'B' : 'A'}${sealed.slice(index + 1)}`;
      refused(() => vault.open(changed, place));
    }
    for (const broken of ['', 'v1', 'v1::', `${sealed}:`, sealed.replace('v1', 'v2'), sealed.slice(0, 30)]) {
      refused(() => vault.open(broken, place));
    }
  });

  it('rotates: the first key seals, all open', () => {
    const [old, fresh] = [hex(), hex()];
    const before = createVault(old, 'a test').seal('secret', place);
    const rotated = createVault(`${fresh},${old}`, 'a test');
    expect(rotated.open(before, place)).toBe('secret');
    expect(rotated.isStale(before)).toBe(true);
    const after = rotated.seal('secret', place);
    expect(rotated.isStale(after)).toBe(false);
    expect(createVault(fresh, 'a test').open(after, place)).toBe('secret');
  });

  it.each([
    ['nothing', ' '],
    ['a short one', 'x7F!kq2'],
    ['a repeated word', 'limen'.repeat(12)],
    ['one letter', 'a'.repeat(64)],
    ['half of a key', randomBytes(12).toString('hex')],
    ['a weak second one', `${hex()},${'0123'.repeat(16)}`],
  ])('refuses a weak key: %s', (_, key) => {
    const create = () => createVault(key, 'LIMEN_ENCRYPTION_KEY');
    expect(create).toThrow(WeakKeyError);
    expect(create).toThrow(/LIMEN_ENCRYPTION_KEY.*openssl rand -hex 32/);
  });

  it.each([
    ['hex', 'hex'],
    ['base64', 'base64'],
    ['base64url', 'base64url'],
  ] as const)('takes keys in %s', (_, encoding) => {
    for (let round = 0; round < 200; round += 1) {
      expect(() => createVault(randomBytes(32).toString(encoding), 'a test')).not.toThrow();
    }
  });
});

describe('specs', () => {
  const identity = { kind: 'Provider', name: 'openai' };
  const spec = {
    type: 'openai',
    credential: { value: 'sk-secret' },
    list: [{ credential: { value: 'second' } }, { credential: { env: 'KEY' } }],
    signed: { credential: { accessKeyId: { env: 'ID' }, secretAccessKey: { value: 'third' } } },
    value: 'no secret',
  };

  it('are stored without any secret and come back whole', () => {
    const vault = createVault(hex(), 'a test');
    const stored = sealSpec(vault, identity, spec);
    expect(JSON.stringify(stored)).not.toMatch(/sk-secret|second|third/);
    expect(openSpec(vault, identity, JSON.parse(JSON.stringify(stored)))).toEqual(spec);
    expect(() => openSpec(vault, { ...identity, name: 'other' }, stored)).toThrow(UnsealError);
    expect(isSpecStale(vault, stored)).toBe(false);
    expect(isSpecStale(createVault(hex(), 'a test'), stored)).toBe(true);
  });

  it("are sealed in a provider's tenants too, each for its own tenant", () => {
    const vault = createVault(hex(), 'a test');
    const tenants = {
      acme: { credential: { value: 'of-acme' }, baseUrl: 'https://acme.example' },
      other: { credential: { accessKeyId: { value: 'id' }, secretAccessKey: { value: 'of-other' } } },
    };
    const stored = JSON.stringify(sealSpec(vault, identity, { tenants }));
    expect(stored).not.toMatch(/of-acme|of-other/);
    expect(openSpec(vault, identity, JSON.parse(stored))).toEqual({ tenants });
    expect(JSON.stringify(hideSecrets({ tenants }))).not.toMatch(/of-acme|of-other/);
    const swapped = stored.replace('"acme"', '"evil"');
    expect(() => openSpec(vault, identity, JSON.parse(swapped))).toThrow(UnsealError);
  });

  it('have each part of a secret sealed for its own place', () => {
    const vault = createVault(hex(), 'a test');
    const whole = { credential: { accessKeyId: { value: 'first' }, secretAccessKey: { value: 'second' } } };
    const text = JSON.stringify(sealSpec(vault, identity, whole));
    const swapped = text
      .replace('accessKeyId', 'other')
      .replace('secretAccessKey', 'accessKeyId')
      .replace('other', 'secretAccessKey');
    expect(() => openSpec(vault, identity, JSON.parse(swapped))).toThrow(UnsealError);
  });

  it('are shown without secrets, sealed or not', () => {
    const shown = {
      ...spec,
      credential: { value: '(hidden)' },
      list: [{ credential: { value: '(hidden)' } }, { credential: { env: 'KEY' } }],
      signed: { credential: { accessKeyId: { env: 'ID' }, secretAccessKey: { value: '(hidden)' } } },
    };
    expect(hideSecrets(spec)).toEqual(shown);
    expect(hideSecrets(sealSpec(createVault(hex(), 'a test'), identity, spec))).toEqual(shown);
  });
});
