import { describe, expect, it } from 'vitest';
import { inputBound, measureInput, untoldInput } from './input-bound.ts';

const IMAGE = `data:image/png;base64,${'A'.repeat(4000)}`;

function measure(wire: string, request: object) {
  return measureInput(wire, Buffer.from(JSON.stringify(request)));
}

function user(content: unknown) {
  return { messages: [{ role: 'user', content }] };
}

describe('measureInput', () => {
  it.each<[string, object]>([
    ['chat', user('hi')],
    ['chat', user([{ type: 'text', text: 'hi' }])],
    ['chat', user([{ type: 'input_audio', input_audio: { data: 'SUQz', format: 'mp3' } }])],
    ['responses', { input: 'hi' }],
    ['responses', { input: [{ role: 'user', content: [{ type: 'input_text', text: 'hi' }] }] }],
    ['responses', { input: [{ type: 'function_call_output', call_id: 'c', output: 'so' }] }],
    ['messages', { ...user('hi'), system: [{ type: 'text', text: 'so' }] }],
    [
      'messages',
      user([{ type: 'document', source: { type: 'text', media_type: 'text/plain', data: 'so' } }]),
    ],
    [
      'gemini',
      { contents: [{ parts: [{ text: 'hi' }, { functionCall: { name: 'f', args: { inlineData: 1 } } }] }] },
    ],
    ['gemini', { contents: [{ parts: [{ inlineData: { mimeType: 'audio/mp3', data: '//uQ' } }] }] }],
    ['embeddings', { input: [[1, 2], [3]] }],
  ])('bounds a %s by its bytes: %j', (wire, request) => {
    const { length } = Buffer.from(JSON.stringify(request));
    expect(measure(wire, request)).toEqual({
      tokens: length,
      images: 0,
      openEnded: false,
      otherMedia: false,
    });
  });

  it.each<[string, (url: string) => object]>([
    ['chat', (url) => user([{ type: 'image_url', image_url: { url } }])],
    [
      'responses',
      (url) => ({ input: [{ role: 'user', content: [{ type: 'input_image', image_url: url }] }] }),
    ],
    [
      'responses',
      (url) => ({
        input: [{ type: 'computer_call_output', output: { type: 'computer_screenshot', image_url: url } }],
      }),
    ],
    [
      'messages',
      (url) =>
        user([
          {
            type: 'tool_result',
            content: [
              {
                type: 'image',
                source: { type: 'base64', media_type: 'image/png', data: url.split(',')[1] },
              },
            ],
          },
        ]),
    ],
    [
      'gemini',
      (url) => ({
        contents: [{ parts: [{ inline_data: { mime_type: 'image/png', data: url.split(',')[1] } }] }],
      }),
    ],
  ])('counts an image in a %s as an image, not as text', (wire, requestOf) => {
    const { tokens, images, openEnded } = measure(wire, requestOf(IMAGE));
    expect({ images, openEnded }).toEqual({ images: 1, openEnded: false });
    expect(tokens).toBeLessThan(400);
    expect(tokens).toBeGreaterThan(0);
  });

  it('counts the bytes of what only looks like an image', () => {
    const arguments_ = { type: 'image_url', image_url: { url: IMAGE } };
    expect(measure('messages', user([{ type: 'tool_use', input: arguments_ }])).tokens).toBeGreaterThan(4000);
    expect(
      measure('chat', { ...user('hi'), tools: [{ type: 'function', function: arguments_ }] }).images,
    ).toBe(0);
    expect(measure('chat', user([{ type: 'text', text: IMAGE }]))).toMatchObject({ images: 0 });
    // The key is the same to every parser, however it is spelled.
    const escaped = `{"messages":[{"content":[{"\\u0074ype":"\\u0069mage_url","image_url":{"url":"http://x/y"}}]}]}`;
    expect(measureInput('chat', Buffer.from(escaped)).images).toBe(1);
  });

  it.each<[string, object]>([
    ['chat', user([{ type: 'file', file: { file_id: 'f' } }])],
    ['chat', user([{ type: 'video_url', video_url: { url: 'https://x' } }])],
    ['chat', user([{ type: 'constructor' }])],
    ['chat', { messages: [{ role: 'assistant', audio: { id: 'a' } }] }],
    ['chat', { ...user('hi'), web_search_options: {} }],
    ['responses', { input: 'hi', previous_response_id: 'r' }],
    ['responses', { input: 'hi', tools: [{ type: 'file_search' }] }],
    ['responses', { input: [{ type: 'item_reference', id: 'i' }] }],
    ['responses', { input: [{ role: 'user', content: [{ type: 'input_file', file_url: 'https://x' }] }] }],
    ['messages', user([{ type: 'document', source: { type: 'url', url: 'https://x' } }])],
    [
      'messages',
      user([{ type: 'document', source: { type: 'base64', media_type: 'application/pdf', data: 'A' } }]),
    ],
    ['messages', { ...user('hi'), tools: [{ type: 'web_search_20250305', name: 'web_search' }] }],
    ['messages', { ...user('hi'), mcp_servers: [{ url: 'https://x' }] }],
    ['gemini', { contents: [{ parts: [{ fileData: { fileUri: 'gs://x' } }] }] }],
    ['gemini', { contents: [{ parts: [{ inlineData: { mimeType: 'video/mp4', data: 'A' } }] }] }],
    ['gemini', { contents: [], tools: [{ googleSearch: {} }] }],
    ['gemini', { contents: [], cachedContent: 'c' }],
    ['embeddings', { input: [{ image: 'https://x' }] }],
    ['embeddings', { input: 'hi', messages: [] }],
  ])('cannot bound %s %j by its bytes', (wire, request) => {
    expect(measure(wire, request).openEnded).toBe(true);
  });

  const wave = (rate: number) => {
    const head = Buffer.alloc(44);
    head.write('RIFF    WAVEfmt ', 'latin1');
    head.writeUInt32LE(rate, 24);
    return head.toString('base64');
  };

  it.each([
    ['MP3', '//uQxAAA', false],
    ['MP3 with a title', 'SUQzBAAA', false],
    ['WAVE', wave(16_000), false],
    ['WAVE of one sample a second', wave(1), true],
    ['FLAC, of which an hour of silence is 20 KB', 'ZkxhQwAA', true],
    ['Ogg', 'T2dnUwAC', true],
    ['nothing', undefined, true],
  ])('bounds audio by its bytes where it must have so many: %s', (_name, data, openEnded) => {
    const audio = { type: 'input_audio', input_audio: { data, format: 'mp3' } };
    expect(measure('chat', user([audio])).openEnded).toBe(openEnded);
    const inlineData = { mimeType: 'audio/mp3', data };
    expect(measure('gemini', { contents: [{ parts: [{ inlineData }] }] }).openEnded).toBe(openEnded);
  });

  it.each<[string, (url: string) => object]>([
    ['chat', (url) => user([{ type: 'image_url', image_url: { url } }])],
    [
      'responses',
      (url) => ({ input: [{ role: 'user', content: [{ type: 'input_image', image_url: url }] }] }),
    ],
    ['messages', (url) => user([{ type: 'image', source: { type: 'url', url } }])],
  ])('tells what Google may take for a file or a video in the place of an image of %s', (wire, requestOf) => {
    const kinds = [
      'https://x/y.png',
      'https://x/y.JPG?sig=a.pdf',
      'https://x/y.pdf',
      'https://x/y.pdf?.png',
      'https://www.youtube.com/watch?v=1.png',
      'data:application/pdf;base64,AAAA',
      'data:video/mp4;base64,AAAA/y.png',
    ].map((url) => measure(wire, requestOf(url)).otherMedia);
    expect(kinds).toEqual([false, false, true, true, true, true, true]);
  });

  it('does not take the word image for one', () => {
    const source = { type: 'base64', media_type: 'application/pdf', data: 'AAAA' };
    expect(measure('messages', user([{ type: 'image', source }])).otherMedia).toBe(true);
  });

  it('adds what providers add for tools', () => {
    const tools = [
      { type: 'computer_20250124', name: 'computer' },
      { name: 'f', input_schema: {} },
    ];
    const request = { ...user('hi'), tools };
    expect(measure('messages', request)).toEqual({
      tokens: Buffer.byteLength(JSON.stringify(request)) + 2048,
      images: 0,
      openEnded: false,
      otherMedia: false,
    });
  });
});

describe('inputBound', () => {
  const openai = { type: 'openai', model: 'gpt-4o' };

  it('is never more than the longest prompt of the model', () => {
    expect(
      inputBound({ tokens: 500, images: 0, openEnded: false, otherMedia: false }, openai, undefined),
    ).toBe(500);
    expect(inputBound({ tokens: 500, images: 0, openEnded: false, otherMedia: false }, openai, 128)).toBe(
      128,
    );
    expect(inputBound({ tokens: 5, images: 0, openEnded: true, otherMedia: false }, openai, 200_000)).toBe(
      200_000,
    );
    expect(inputBound({ tokens: 5, images: 0, openEnded: true, otherMedia: false }, openai, undefined)).toBe(
      1_050_000,
    );
  });

  it('takes anything in the place of an image for as long as can be, at Google alone', () => {
    const media = { tokens: 5, images: 1, openEnded: false, otherMedia: true };
    expect(inputBound(media, openai, undefined)).toBe(24_605);
    expect(inputBound(media, { type: 'gemini', model: 'flash' }, undefined)).toBe(1_050_000);
    expect(inputBound(media, { type: 'vertex', model: 'gemini-3-pro' }, 1000)).toBe(1000);
    expect(inputBound(media, { type: 'vertex', model: 'claude-sonnet-4-5' }, undefined)).toBe(8469);
  });

  it.each([
    ['openai', 'gpt-4o', 24_600],
    ['openai', 'gpt-4o-mini', 48_169],
    ['azure-openai', 'my-deployment', 48_169],
    ['openai-compatible', 'gpt-5', 48_169],
    ['bedrock', 'eu.anthropic.claude-sonnet-4-5-v1:0', 8464],
    ['vertex', 'gemini-3-pro', 4128],
  ])('takes an image at %s %s for %i tokens at most', (type, model, tokens) => {
    const two = { tokens: 0, images: 2, openEnded: false, otherMedia: false };
    expect(inputBound(two, { type, model }, undefined)).toBe(2 * tokens);
  });
});

describe('untoldInput', () => {
  const text = { tokens: 400, images: 0, openEnded: false, otherMedia: false };
  const targets = [{ type: 'openai', model: 'gpt-4o' }];

  it('is nothing of its own for text', () => {
    expect(untoldInput(text, targets, undefined)).toBeUndefined();
  });

  it('takes images and what lies elsewhere for the most that they may be', () => {
    expect(untoldInput({ ...text, images: 2 }, targets, undefined)).toBe(100 + 2 * 24_600);
    expect(untoldInput({ ...text, openEnded: true }, targets, 200_000)).toBe(200_000);
    expect(untoldInput({ ...text, images: 9999 }, targets, undefined)).toBe(1_050_000);
  });
});
