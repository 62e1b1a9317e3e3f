import { describe, expect, it } from 'vitest';
import { WarningList } from '../formats/warnings.ts';
import {
  DIRECTIONS,
  feed,
  fixture,
  fixtureNames,
  fixturePath,
  transformFor,
} from './__fixtures__/support.ts';
import type { ProviderType } from './provider.ts';
import { convertRequest } from './translate.ts';

/** What each provider is sent and what each client gets, byte for byte. `-u` writes the files anew. */

const written = new Set<string>();

function golden(name: string): string {
  written.add(name);
  return fixturePath(`golden/${name}`);
}

const REQUEST_CASES: readonly [string, ProviderType, string][] = [
  ...fixtureNames('requests', '.json')
    .filter((name) => name.startsWith('chat-'))
    .flatMap((name): [string, ProviderType, string][] => [
      [name, 'anthropic', 'claude-sonnet-4-5-20250929'],
      [name, 'anthropic', 'claude-opus-4-7'],
    ]),
  ...fixtureNames('requests', '.json')
    .filter((name) => name.startsWith('messages-'))
    .flatMap((name): [string, ProviderType, string][] => [
      [name, 'openai', 'gpt-4o-mini'],
      [name, 'openai', 'gpt-5.2'],
      [name, 'openai-compatible', 'llama3.2:3b'],
    ]),
];

describe('converted requests', () => {
  it.each(REQUEST_CASES)('%s for %s, %s', async (name, provider, model) => {
    const format = name.startsWith('chat-') ? 'chat' : 'messages';
    const { body, warnings, ...rest } = convertRequest({
      format,
      provider,
      body: fixture(`requests/${name}`),
      model,
      basePath: '/v1',
    });
    const seen = { ...rest, warnings };
    const text = `${JSON.stringify(seen, null, 2)}\n\n${body.toString()}\n`;
    await expect(text).toMatchFileSnapshot(
      golden(`request ${name.replace('.json', '')} to ${provider} ${model.replace(':', '-')}.txt`),
    );
    JSON.parse(body.toString());
    expect(rest.headers['content-length']).toBe(String(body.length));
  });
});

describe.each(DIRECTIONS)('answers of $provider for a $format client', ({ format, provider }) => {
  it.each(fixtureNames(provider, '.sse'))('%s', async (name) => {
    const transform = transformFor({ format, provider });
    const client = feed(transform, fixture(`${provider}/${name}`));
    const { outcome, usage, warnings, error } = transform;
    const summary = { outcome, usage, warnings, error: error?.message };
    const text = `${client.toString()}${JSON.stringify(summary, null, 2)}\n`;
    await expect(text).toMatchFileSnapshot(
      golden(`stream ${provider} ${name.replace('.sse', '')} to ${format}.txt`),
    );
  });

  it.each(fixtureNames(provider, '.json'))('%s', async (name) => {
    for (const stream of [false, true]) {
      const headers = { 'content-type': 'application/json; charset=utf-8' };
      const transform = transformFor({ format, provider, stream, headers });
      const client = feed(transform, fixture(`${provider}/${name}`));
      const { status, outcome, usage, warnings } = transform;
      const text = `${client.toString()}\n${JSON.stringify({ status, outcome, usage, warnings }, null, 2)}\n`;
      const kind = stream ? 'replayed' : 'plain';
      await expect(text).toMatchFileSnapshot(
        golden(`${kind} ${provider} ${name.replace('.json', '')} to ${format}.txt`),
      );
    }
  });
});

it('has no golden file that nothing writes', () => {
  expect(fixtureNames('golden', '.txt').filter((name) => !written.has(name))).toEqual([]);
});

it('keeps each warning once', () => {
  const warnings = new WarningList();
  warnings.dropped('seed', 'a');
  warnings.dropped('seed', 'b');
  warnings.approximated('seed', 'c');
  expect(warnings.items.map(({ action }) => action)).toEqual(['dropped', 'approximated']);
});
