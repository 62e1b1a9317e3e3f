import { pino, type DestinationStream, type Logger } from 'pino';
import type { LOG_LEVELS } from '../config/env.ts';
import { tellable } from '../core/errors.ts';

export type { Logger } from 'pino';

/** Fields that may carry a credential, wherever they stand; the log shows that they were there, no more. */
const SECRET_FIELDS = [
  'authorization',
  'x-api-key',
  'x-goog-api-key',
  'api-key',
  'cookie',
  'set-cookie',
  'apiKey',
  'credential',
  'password',
  'secret',
  'token',
];

/** A field by name at the top, and one and two levels down, which is how deep our log lines go. */
function redactedPaths(): string[] {
  return SECRET_FIELDS.flatMap((field) => ['', '*', '*.*'].map((prefix) => `${prefix}["${field}"]`));
}

function serializedError(error: unknown): unknown {
  const told = tellable(error);
  return told instanceof Error ? pino.stdSerializers.err(told) : told;
}

/**
 * The one logger: JSON lines with `time`, `level`, `component` and `message`, credentials redacted by name.
 *
 * @param component which process or part speaks: `control`, `processor-0`
 * @param level least severe level to write
 * @param destination where to; standard output if left out
 */
export function createLogger(
  component: string,
  level: (typeof LOG_LEVELS)[number],
  destination?: DestinationStream,
): Logger {
  const options = {
    level,
    base: { component },
    messageKey: 'message',
    serializers: { error: serializedError },
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: { paths: redactedPaths(), censor: '[redacted]' },
  };
  return destination ? pino(options, destination) : pino(options);
}
