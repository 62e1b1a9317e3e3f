import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { buildSnapshot } from '../../snapshot/build.ts';
import { formatIssue } from '../load/issue.ts';
import { loadConfig } from '../load/load.ts';
import { mergeSources } from '../merge/merge.ts';
import { PROVIDER_TYPES } from './provider.ts';
import { anyResourceSchema, isKind, KINDS, RESOURCE_SCHEMAS } from './index.ts';

const examples = join(import.meta.dirname, '../../../examples');

describe('the examples', () => {
  it.each(readdirSync(examples).filter((name) => name.endsWith('.yaml')))('%s is right', async (name) => {
    const { resources, issues } = await loadConfig(join(examples, name));
    const merged = mergeSources({ file: resources, database: [], environment: [], builtIn: [] });
    expect([...issues, ...merged.issues].map(formatIssue)).toEqual([]);
    const { snapshot } = buildSnapshot(merged.resources.map(({ resource }) => resource));
    expect(Object.keys({ ...snapshot.providers, ...snapshot.backends })).not.toEqual([]);
  });
});

describe('all examples together', () => {
  it('have a provider of each type', async () => {
    const files = readdirSync(examples).filter((name) => name.endsWith('.yaml'));
    const loaded = await Promise.all(files.map((name) => loadConfig(join(examples, name))));
    const types = loaded.flatMap(({ resources }) =>
      resources.flatMap(({ resource }) => (resource.kind === 'Provider' ? [resource.spec.type] : [])),
    );
    expect([...new Set(types)].sort()).toEqual([...PROVIDER_TYPES].sort());
  });
});

describe('RESOURCE_SCHEMAS', () => {
  it('has one schema for each kind, and the union has them all', () => {
    expect(KINDS).toContain('LimitPolicy');
    expect(anyResourceSchema.options.map((option) => option.shape.kind.value).sort()).toEqual(
      [...KINDS].sort(),
    );
    expect(isKind('Model')).toBe(true);
    expect(isKind('constructor')).toBe(false);
  });

  it.each(KINDS)('says of every field of %s what it means', (kind) => {
    const undescribed: string[] = [];
    const walk = (node: unknown, path: string): void => {
      if (typeof node !== 'object' || node === null) return;
      for (const [name, child] of Object.entries('properties' in node ? (node.properties ?? {}) : {})) {
        const inner = `${path}.${name}`;
        if (!(typeof child === 'object' && child !== null && 'description' in child)) undescribed.push(inner);
        walk(child, inner);
      }
      if ('items' in node) walk(node.items, `${path}[]`);
      if ('anyOf' in node && Array.isArray(node.anyOf)) for (const option of node.anyOf) walk(option, path);
    };
    walk(z.toJSONSchema(RESOURCE_SCHEMAS[kind], { io: 'input' }).properties?.['spec'], 'spec');
    expect(undescribed).toEqual([]);
  });
});
