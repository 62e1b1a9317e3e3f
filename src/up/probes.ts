import { request } from 'node:http';
import { connect } from 'node:net';

/** Asks whether a server is ready; a probe never rejects. */
export type Probe = () => Promise<boolean>;

const PROBE_TIMEOUT_MS = 1_000;

/** Sends bytes to a Unix socket and looks at the first that come back. */
function answers(path: string, question: Buffer, isGood: (answer: Buffer) => boolean): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    const finish = (good: boolean) => {
      socket.destroy();
      resolve(good);
    };
    socket.setTimeout(PROBE_TIMEOUT_MS, () => finish(false));
    socket.once('error', () => finish(false));
    socket.once('close', () => finish(false));
    socket.once('connect', () => socket.write(question));
    socket.once('data', (answer) => finish(isGood(Buffer.from(answer))));
  });
}

/** Redis on a Unix socket: ready once it answers PING, which it does not while it loads its file. */
export function redisProbe(path: string): Probe {
  return () => answers(path, Buffer.from('PING\r\n'), (answer) => answer.toString().startsWith('+PONG'));
}

/** Protocol version 3.0 of Postgres (its manual, "Message Formats", StartupMessage). */
const POSTGRES_PROTOCOL = 196_608;

/** Postgres on a Unix socket: ready once it lets this user in ('R', AuthenticationOk). */
export function postgresProbe(path: string, user: string, database: string): Probe {
  const parameters = Buffer.from(`user\0${user}\0database\0${database}\0\0`);
  const message = Buffer.alloc(8 + parameters.length);
  message.writeInt32BE(message.length, 0);
  message.writeInt32BE(POSTGRES_PROTOCOL, 4);
  parameters.copy(message, 8);
  return () => answers(path, message, (answer) => answer[0] === 'R'.charCodeAt(0));
}

/** Where an HTTP server listens: on a Unix socket, or at an address. */
export type HttpTarget = { readonly socketPath: string } | { readonly host: string; readonly port: number };

/** One HTTP request to a server of our own; rejects where it does not answer within a second. */
export function httpCall(
  target: HttpTarget,
  method: 'GET' | 'POST',
  path: string,
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const call = request({ ...target, method, path, timeout: PROBE_TIMEOUT_MS, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.once('error', reject);
      response.once('end', () =>
        resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
      );
    });
    call.once('timeout', () => call.destroy(new Error('no answer')));
    call.once('error', reject);
    call.end();
  });
}

/** An HTTP server: ready once it answers 200. */
export function httpProbe(target: HttpTarget, path: string): Probe {
  return () =>
    httpCall(target, 'GET', path).then(
      ({ status }) => status === 200,
      () => false,
    );
}
