import { existsSync } from 'node:fs';
import { request as httpRequest, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { join } from 'node:path';
import { z } from 'zod';
import { adminTokenPath, readAdminToken } from '../admin/token.ts';
import { variableOf, type Settings } from '../config/env.ts';
import { parsedJson } from '../core/json.ts';
import { CliError } from './context.ts';

/** An answer of the admin API that is no success. */
export class AdminApiError extends CliError {
  readonly status: number;
  readonly code: string;
  readonly details: unknown;

  constructor(status: number, code: string, message: string, details: unknown) {
    super(message);
    this.status = status;
    this.code = code;
    this.details = details;
  }
}

/** Nobody answers: the gateway does not run, or elsewhere. */
export class NotRunningError extends CliError {}

export interface AdminClient {
  /** @throws NotRunningError, AdminApiError, CliError where there is no token */
  call(method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, body?: unknown): Promise<unknown>;
}

const REQUEST_TIMEOUT_MS = 30_000;

const errorSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), details: z.unknown().optional() }),
});

interface Target {
  readonly name: string;
  readonly options: RequestOptions;
  readonly basePath: string;
  readonly secure: boolean;
}

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** Speaks to the admin API of this installation, or of the one that LIMEN_ADMIN_URL names. */
export function createAdminClient(settings: Settings): AdminClient {
  const targets = findTargets(settings);

  return {
    async call(method, path, body) {
      const token = settings.adminToken ?? readAdminToken(settings.data);
      let refused: Answer | undefined;
      for (const target of targets) {
        const answer = await send(target, method, path, body, token ?? '');
        // Envoy speaks for a control plane that it does not reach; the socket may know better.
        if (answer && !isEnvoysOwn(answer)) return readAnswer(answer, token !== undefined, settings);
        refused ??= answer;
      }
      const [first] = targets;
      throw new NotRunningError(
        refused
          ? `Envoy runs at ${first?.name}, but the control plane behind it does not answer.`
          : `Limen is not running at ${first?.name}: start it with \`npm start\`, or set ${variableOf('adminUrl')} (or ${variableOf('consolePort')}, ${variableOf('data')}) for another one.`,
      );
    },
  };
}

function findTargets(settings: Settings): Target[] {
  if (settings.adminUrl !== undefined) return [urlTarget(settings.adminUrl)];
  const anywhere = ['0.0.0.0', '::'].includes(settings.consoleAddress);
  const host = anywhere ? '127.0.0.1' : settings.consoleAddress;
  const local = urlTarget(`http://${host.includes(':') ? `[${host}]` : host}:${settings.consolePort}`);
  // The way in that needs no Envoy: the admin is never locked out of a machine that runs a control plane.
  const socketPath = join(settings.run, 'admin-api.sock');
  const socket: Target = { name: socketPath, options: { socketPath }, basePath: '', secure: false };
  return existsSync(socketPath) ? [local, socket] : [local];
}

function urlTarget(text: string): Target {
  const url = new URL(text);
  const host = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const options = url.port === '' ? { host } : { host, port: Number(url.port) };
  return {
    name: url.origin,
    options,
    basePath: url.pathname.replace(/\/+$/, ''),
    secure: url.protocol === 'https:',
  };
}

/** Sends a request; nothing where nobody takes the connection. */
function send(
  target: Target,
  method: string,
  path: string,
  body: unknown,
  token: string,
): Promise<Answer | undefined> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  return new Promise((resolve, reject) => {
    const request = (target.secure ? httpsRequest : httpRequest)(
      {
        ...target.options,
        method,
        path: `${target.basePath}${path}`,
        timeout: REQUEST_TIMEOUT_MS,
        headers: {
          accept: 'application/json',
          ...(token === '' ? {} : { authorization: `Bearer ${token}` }),
          ...(text === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) }),
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () =>
          resolve({ status: response.statusCode ?? 0, text: Buffer.concat(chunks).toString() }),
        );
        response.on('error', reject);
      },
    );
    request.on('timeout', () =>
      request.destroy(new CliError(`${target.name} did not answer within 30 seconds.`)),
    );
    request.on('error', (error) => {
      if (error instanceof CliError) reject(error);
      else if (
        'code' in error &&
        ['ECONNREFUSED', 'ENOENT', 'ECONNRESET', 'EHOSTUNREACH', 'ENOTFOUND'].includes(String(error.code))
      ) {
        resolve(undefined);
      } else reject(new CliError(`${target.name} cannot be reached: ${error.message}`));
    });
    request.end(text);
  });
}

/** 502 to 504 without our error shape. */
function isEnvoysOwn({ status, text }: Answer): boolean {
  return status >= 502 && status <= 504 && !errorSchema.safeParse(parsedJson(text)).success;
}

function readAnswer({ status, text }: Answer, hasToken: boolean, settings: Settings): unknown {
  const body = parsedJson(text);
  if (status >= 200 && status < 300 && body !== undefined) return body;
  const error = errorSchema.safeParse(body);
  if (!error.success)
    throw new CliError(
      `The answer (status ${status}) is none of Limen's admin API: is this the right address?`,
    );
  const { code, message, details } = error.data.error;
  if (status === 401) {
    const where = `${variableOf('adminToken')} or ${adminTokenPath(settings.data)}`;
    throw new AdminApiError(
      status,
      code,
      hasToken
        ? `The admin token was refused: is ${where} that of this gateway?`
        : `There is no admin token: set ${where}.`,
      details,
    );
  }
  throw new AdminApiError(status, code, message, details);
}
