import { createHash, timingSafeEqual } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { Writable, type Transform } from 'node:stream';
import { createBrotliDecompress, createGunzip, createInflate, createZstdDecompress } from 'node:zlib';
import type { Statement } from './host-engine.ts';

/** Largest body of a request, unpacked: the engine takes a statement and its rows as one text. */
export const MAX_BODY_BYTES = 64 * 1024 * 1024;

/** An error in the words and with the number that ClickHouse's own clients know. */
export class HostError extends Error {
  override readonly name = 'HostError';

  constructor(code: number, type: string, message: string) {
    super(`Code: ${code}. DB::Exception: ${message} (${type})`);
  }
}

/** URL parameters that speak of the HTTP exchange or the sign-in: the engine would refuse them as settings. */
const EXCHANGE_PARAMETERS = new Set([
  'query',
  'query_id',
  'database',
  'default_format',
  'user',
  'password',
  'quota_key',
  'compress',
  'decompress',
  'stacktrace',
  'buffer_size',
  'wait_end_of_query',
  'enable_http_compression',
  'http_zlib_compression_level',
  'http_response_buffer_size',
  'http_headers_progress_interval_ms',
  'http_native_compression_disable_checksumming_on_decompress',
  'http_write_exception_in_output_format',
  'send_progress_in_http_headers',
  'cancel_http_readonly_queries_on_client_close',
]);

/** What this host cannot do, refused rather than overlooked. */
const REFUSED_PARAMETERS = ['session_id', 'session_timeout', 'session_check', 'role'];

function sameText(one: string, other: string): boolean {
  const digest = (text: string) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(one), digest(other));
}

function credentials(request: IncomingMessage, url: URL): { user: string; password: string } {
  const [scheme, encoded] = (request.headers.authorization ?? '').split(' ');
  if (scheme?.toLowerCase() === 'basic' && encoded !== undefined) {
    const [user = '', ...rest] = Buffer.from(encoded, 'base64').toString().split(':');
    return { user, password: rest.join(':') };
  }
  const header = (name: string) => String(request.headers[name] ?? '');
  return {
    user: header('x-clickhouse-user') || (url.searchParams.get('user') ?? 'default'),
    password: header('x-clickhouse-key') || (url.searchParams.get('password') ?? ''),
  };
}

/** @throws HostError 516 where the request does not carry the one user's password */
export function authenticate(
  request: IncomingMessage,
  url: URL,
  expected: { readonly user: string; readonly password: string },
): void {
  const given = credentials(request, url);
  if (sameText(given.password, expected.password) && sameText(given.user, expected.user)) return;
  throw new HostError(
    516,
    'AUTHENTICATION_FAILED',
    `${given.user}: Authentication failed: password is incorrect, or there is no user with such name.`,
  );
}

function unpacker(encoding: string): Transform | undefined {
  if (encoding === '' || encoding === 'identity') return undefined;
  if (encoding === 'gzip') return createGunzip();
  if (encoding === 'deflate') return createInflate();
  if (encoding === 'br') return createBrotliDecompress();
  if (encoding === 'zstd') return createZstdDecompress();
  throw new HostError(35, 'UNKNOWN_COMPRESSION_METHOD', `Unknown compression method: ${encoding}.`);
}

async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  const collect = new Writable({
    write(chunk: Buffer, _encoding, done) {
      length += chunk.length;
      if (length > MAX_BODY_BYTES) {
        done(
          new HostError(396, 'TOO_MANY_ROWS_OR_BYTES', `The body is larger than ${MAX_BODY_BYTES} bytes.`),
        );
        return;
      }
      chunks.push(chunk);
      done();
    },
  });
  const unpack = unpacker((request.headers['content-encoding'] ?? '').toLowerCase());
  if (unpack === undefined) await pipeline(request, collect);
  else await pipeline(request, unpack, collect);
  return Buffer.concat(chunks);
}

/** Form fields, where the client put its query and parameters into a form because a URL would be too long. */
async function formFields(contentType: string, body: Buffer): Promise<Map<string, string> | undefined> {
  if (!contentType.startsWith('multipart/form-data')) return undefined;
  const form = await new Response(new Uint8Array(body), {
    headers: { 'content-type': contentType },
  }).formData();
  const fields = new Map<string, string>();
  form.forEach((value, name) => {
    if (typeof value === 'string') fields.set(name, value);
  });
  return fields;
}

/** The statement of a request: query from the URL, the body behind it; parameters and settings from the URL. */
export async function readStatement(request: IncomingMessage, url: URL): Promise<Statement> {
  for (const name of REFUSED_PARAMETERS) {
    if (url.searchParams.has(name)) {
      throw new HostError(48, 'NOT_IMPLEMENTED', `The embedded server has no ${name}.`);
    }
  }
  const body = await readBody(request);
  const form = await formFields(request.headers['content-type'] ?? '', body);
  const given = new Map([...url.searchParams, ...(form ?? [])]);
  const text = form === undefined ? body.toString('utf8') : '';
  const query = given.get('query') ?? '';
  const sql = query === '' ? text : text === '' ? query : `${query}\n${text}`;
  if (sql.trim() === '') throw new HostError(62, 'SYNTAX_ERROR', 'Syntax error: Empty query.');
  const settings = new Map<string, string>();
  const parameters = new Map<string, string>();
  for (const [name, value] of given) {
    if (name.startsWith('param_')) parameters.set(name.slice('param_'.length), value);
    else if (!EXCHANGE_PARAMETERS.has(name)) settings.set(name, value);
  }
  return {
    sql,
    database: given.get('database') ?? (String(request.headers['x-clickhouse-database'] ?? '') || 'default'),
    format:
      given.get('default_format') ?? (String(request.headers['x-clickhouse-format'] ?? '') || 'TabSeparated'),
    settings,
    parameters,
  };
}
