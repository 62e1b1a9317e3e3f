import type { Command } from 'commander';
import { z } from 'zod';
import { AdminApiError, createAdminClient } from './admin-client.ts';
import { CliError, runCommand, type CliContext } from './context.ts';
import { readResponse } from './responses.ts';
import { formatTable, NOTHING, printable } from './table.ts';

/** Names and model names are of clients' making: nothing in them may move the cursor or turn the text around. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;

const printed = z.string().transform((text) => text.replace(UNPRINTABLE, '\uFFFD'));

const requestSchema = z.object({
  id: printed,
  time: printed,
  user: printed,
  keyId: printed,
  team: printed,
  tenant: printed,
  format: printed,
  modelAsked: printed,
  model: printed,
  provider: printed,
  providerModel: printed,
  stream: z.boolean(),
  attempts: z.number(),
  status: z.number(),
  errorCode: printed,
  usage: z.object({
    input: z.number(),
    output: z.number(),
    cachedInput: z.number(),
    cacheWrite: z.number(),
    reasoning: z.number(),
  }),
  usageSource: printed,
  costUsd: z.number(),
  cache: printed,
  timeToFirstTokenMs: z.number(),
  durationMs: z.number(),
  limenMicros: z.number(),
  cutOffTokens: z.number().optional(),
  overrun: z.array(printed),
  trace: z.array(
    z.object({
      checkpoint: printed,
      rule: printed,
      subject: printed,
      outcome: printed,
      numbers: printed,
    }),
  ),
  failedAttempts: z.array(
    z.object({
      ordinal: z.number(),
      provider: printed,
      providerModel: printed,
      status: z.number(),
      outcome: printed,
      mayBeBilled: z.boolean(),
      costUsd: z.number(),
      durationMs: z.number(),
    }),
  ),
});

type ShownRequest = z.output<typeof requestSchema>;

/** `limen explain REQUEST_ID` */
export function registerExplainCommand(program: Command, context: CliContext): void {
  program
    .command('explain <request-id>')
    .description('show what was decided about a request, in order, and why')
    .option('--json', 'print it as JSON')
    .addHelpText(
      'after',
      `
The id is in the x-request-id header of every answer, and in error messages.

Example:
  limen explain 1f0c2b6e-8a52-4d1b-9c7e-3a5d2e9b4f60`,
    )
    .action((id: string, flags: { json?: true }) =>
      runCommand(context, () => explain(context, id, flags.json === true)),
    );
}

async function explain(context: CliContext, id: string, json: boolean): Promise<void> {
  if (!/^[A-Za-z0-9-]+$/.test(id)) throw unknown(id);
  const client = createAdminClient(context.settings());
  const answer = await client
    .call('GET', `/api/v1/requests/${encodeURIComponent(id)}`)
    .catch((error: unknown) => {
      if (error instanceof AdminApiError && error.code === 'not_found') throw unknown(id);
      throw error;
    });
  if (json) context.out(JSON.stringify(answer, null, 2));
  else context.out(explanation(readResponse(requestSchema, answer)));
}

function unknown(id: string): CliError {
  return new CliError(
    `There is no request ${JSON.stringify(id)}. A request appears some seconds after its answer has ended. The id is in the answer's x-request-id header and looks like 1f0c2b6e-8a52-4d1b-9c7e-3a5d2e9b4f60.`,
  );
}

/** Head, decisions, failed tries: in the order in which one reads them. */
function explanation(request: ShownRequest): string {
  return [head(request), decisions(request), failedTries(request)].filter((part) => part !== '').join('\n\n');
}

function head(request: ShownRequest): string {
  const lines: readonly (readonly [string, string])[] = [
    ['request', request.id],
    ['when', request.time.replace('T', ' ').replace('Z', ' UTC')],
    ['who', who(request)],
    ['asked', asked(request)],
    ['answer', answered(request)],
    ['tokens', tokens(request)],
    ['cost', dollars(request.costUsd)],
    ['time', times(request)],
  ];
  const width = Math.max(...lines.map(([name]) => name.length));
  return lines.map(([name, text]) => `${name.padEnd(width)}  ${printable(text)}`).join('\n');
}

function who({ user, keyId, team, tenant }: ShownRequest): string {
  if (user === '') return 'nobody was identified';
  const more = [keyId && `key ${keyId}`, team && `team ${team}`, tenant && `tenant ${tenant}`].filter(
    Boolean,
  );
  return more.length === 0 ? user : `${user} (${more.join(', ')})`;
}

function asked({ format, modelAsked, model, stream }: ShownRequest): string {
  const resolved = model === '' || model === modelAsked ? '' : ` → ${model}`;
  const parts = [format, modelAsked && `model ${modelAsked}${resolved}`, stream && 'streamed'];
  return parts.filter(Boolean).join(', ') || NOTHING;
}

function answered(request: ShownRequest): string {
  const { status, errorCode, provider, providerModel, attempts, cache, cutOffTokens, overrun } = request;
  return [
    status === 0 ? 'status not known' : String(status),
    errorCode,
    provider && `from ${provider}${providerModel === '' ? '' : ` (${providerModel})`}`,
    attempts > 0 && `${String(attempts)} ${attempts === 1 ? 'try' : 'tries'}`,
    cache && `cache ${cache}`,
    cutOffTokens !== undefined && `cut off after ${String(cutOffTokens)} tokens`,
    overrun.length > 0 && `overran ${overrun.join(', ')}`,
  ]
    .filter(Boolean)
    .join(', ');
}

function tokens({ usage, usageSource }: ShownRequest): string {
  if (usageSource === 'none') return 'none';
  const cached = [
    usage.cachedInput > 0 && `${String(usage.cachedInput)} cached`,
    usage.cacheWrite > 0 && `${String(usage.cacheWrite)} written to the cache`,
  ].filter(Boolean);
  const input = `${String(usage.input)} in${cached.length === 0 ? '' : ` (${cached.join(', ')})`}`;
  const reasoning = usage.reasoning > 0 ? ` (${String(usage.reasoning)} reasoning)` : '';
  const source = usageSource === 'provider' ? 'told by the provider' : usageSource;
  return `${input}, ${String(usage.output)} out${reasoning}, ${source}`;
}

function times({ durationMs, timeToFirstTokenMs, limenMicros }: ShownRequest): string {
  return [
    `${milliseconds(durationMs)} in all`,
    timeToFirstTokenMs > 0 && `${milliseconds(timeToFirstTokenMs)} to the provider's first byte`,
    limenMicros > 0 && `${milliseconds(limenMicros / 1000)} of it Limen's decision`,
  ]
    .filter(Boolean)
    .join(', ');
}

function decisions({ trace }: ShownRequest): string {
  if (trace.length === 0) return 'No decision was written down.';
  return formatTable(
    ['checkpoint', 'rule', 'subject', 'outcome', 'numbers'],
    trace.map(({ checkpoint, rule, subject, outcome, numbers }) =>
      [checkpoint, rule, subject, outcome, numbers].map((cell) => cell || NOTHING),
    ),
  );
}

function failedTries({ failedAttempts }: ShownRequest): string {
  if (failedAttempts.length === 0) return '';
  return formatTable(
    ['failed try', 'provider', 'model', 'status', 'outcome', 'took', 'may cost'],
    failedAttempts.map((one) => [
      String(one.ordinal),
      one.provider || NOTHING,
      one.providerModel || NOTHING,
      one.status === 0 ? NOTHING : String(one.status),
      one.outcome,
      milliseconds(one.durationMs),
      one.mayBeBilled ? dollars(one.costUsd) : 'nothing',
    ]),
  );
}

function milliseconds(value: number): string {
  return value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

/** Six digits behind the point, without zeros at the end. */
function dollars(value: number): string {
  return `$${value.toFixed(6).replace(/\.?0+$/, '')}`;
}
