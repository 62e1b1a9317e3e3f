import type { ProviderApi } from './provider.ts';
import { FailedTransform } from './response/failed.ts';
import { PassingTransform } from './response/passing.ts';
import { StreamTransform } from './response/stream.ts';
import type { ResponseTransform, ResponseTransformOptions } from './response/transform.ts';
import { WholeTransform } from './response/whole.ts';
import { apiFor } from './translate.ts';

export type { CutOffOptions } from './response/cut-off.ts';
export type { CountTokens } from './response/output-meter.ts';
export type { ResponseTransform } from './response/transform.ts';

const STREAM_TYPES: Readonly<Record<ProviderApi['framing'], string>> = {
  sse: 'text/event-stream',
  'aws-event-stream': 'application/vnd.amazon.eventstream',
  'aws-event-stream-chunks': 'application/vnd.amazon.eventstream',
};

/** Chooses by status and content type how the answer is to be read. */
export function createResponseTransform(options: ResponseTransformOptions): ResponseTransform {
  const { clientFormat, target, stream, framing, cutOff } = options;
  const api = apiFor(target, clientFormat, stream, framing);
  const contentType = options.headers['content-type']?.toLowerCase() ?? '';
  const encoding = options.headers['content-encoding'] ?? 'identity';
  if (encoding !== 'identity' && encoding !== '') {
    return new FailedTransform(options, api, 'The upstream sent a compressed answer that was not asked for.');
  }
  if (options.status >= 400) return new FailedTransform(options, api, undefined);
  if (options.status >= 300) {
    return new FailedTransform(options, api, 'The upstream sent the gateway elsewhere.');
  }
  const isStream = contentType.includes(STREAM_TYPES[api.framing]);
  const isJson = contentType.includes('json');
  if (api.format === clientFormat && (stream && framing === 'sse' ? isStream : isJson)) {
    // What is to be ended early must be written anew: only so it can have a last event.
    if (stream && cutOff !== undefined) return new StreamTransform(options, api);
    return new PassingTransform(options, api);
  }
  if (stream && (isStream || contentType === '')) return new StreamTransform(options, api);
  if (isStream) {
    return new FailedTransform(options, api, 'The upstream sent a stream that was not asked for.');
  }
  if (stream && !isJson) {
    return new FailedTransform(options, api, 'The upstream sent neither a stream nor JSON.');
  }
  return new WholeTransform(options, api);
}
