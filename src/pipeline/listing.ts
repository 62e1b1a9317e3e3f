import { z } from 'zod';
import { LimenError } from '../core/errors.ts';
import type { Principal } from '../core/principal.ts';
import type { Snapshot } from '../core/snapshot.ts';
import type { ListedModel } from '../formats/format.ts';
import type { ClientFormatName } from '../formats/hub.ts';
import { FORMATS } from '../formats/index.ts';
import { mayUseModel } from '../stages/authorize.ts';
import { isWithheld, resolveModel, unknownModel } from '../stages/route.ts';
import { JSON_HEADERS, type Answer, type RequestHead } from './answer.ts';

/** `/health/ready`: there is a snapshot, and a provider or another service in it. */
export function readiness(snapshot: Snapshot): Answer {
  const { providers, backends } = snapshot;
  const ready = Object.keys(providers).length > 0 || Object.keys(backends).length > 0;
  return {
    kind: 'answer',
    status: ready ? 200 : 503,
    headers: JSON_HEADERS,
    body: Buffer.from(
      `${JSON.stringify({ status: ready ? 'ready' : 'no provider is configured', snapshot: snapshot.version })}\n`,
    ),
  };
}

/** Callers whose list is remembered, for each snapshot. */
const MOST_LISTS = 500;

const lists = new WeakMap<Snapshot, Map<Principal, readonly string[]>>();

/** Names of the models that somebody may use: all Models are looked at, so who asks again gets what was found. */
export function modelNames(snapshot: Snapshot, principal: Principal): readonly string[] {
  const known = lists.get(snapshot) ?? new Map<Principal, readonly string[]>();
  lists.set(snapshot, known);
  const names = known.get(principal) ?? findModelNames(snapshot, principal);
  known.set(principal, names);
  const [oldest] = known.keys();
  if (known.size > MOST_LISTS && oldest !== undefined) known.delete(oldest);
  return names;
}

function findModelNames(snapshot: Snapshot, principal: Principal): readonly string[] {
  return Object.values(snapshot.models)
    .filter((model) => mayUseModel(snapshot, principal, model) && !isWithheld(snapshot, model, principal))
    .map(({ name }) => name);
}

export interface ModelsQuestion {
  /** In whose shape. */
  readonly format: ClientFormatName;
  /** One model, by its name or an alias; undefined: all. */
  readonly name: string | undefined;
  readonly query: string;
}

/** Models as the APIs list them: only what the caller may use. */
export function listModels(
  { format, name, query }: ModelsQuestion,
  snapshot: Snapshot,
  principal: Principal,
  head: RequestHead,
): Answer {
  if (head.method !== 'GET') {
    throw new LimenError('invalid_request', 'Send a GET request to list models.', { status: 405 });
  }
  const names = modelNames(snapshot, principal);
  const body =
    name === undefined
      ? pageOfModels(
          format,
          names.map((id) => listedModel(snapshot, id, id)),
          new URLSearchParams(query),
        )
      : oneModel(format, listedModel(snapshot, nameBehind(snapshot, name, names), name));
  return { kind: 'answer', status: 200, headers: JSON_HEADERS, body };
}

function nameBehind(snapshot: Snapshot, asked: string, names: readonly string[]): string {
  const behind = resolveModel(snapshot, asked)?.name;
  if (behind === undefined || !names.includes(behind)) throw unknownModel(asked, names);
  return behind;
}

function listedModel(snapshot: Snapshot, name: string, id: string): ListedModel {
  return {
    id,
    ownedBy: snapshot.models[name]?.targets[0]?.provider ?? 'limen',
    created: 0,
  };
}

/** Every API shows a single model as it shows it within a list. */
function oneModel(format: ClientFormatName, model: ListedModel): Buffer {
  const list = listSchema.parse(JSON.parse(FORMATS[format].modelsList([model]).toString('utf8')));
  return Buffer.from(JSON.stringify((list.data ?? list.models)?.[0]));
}

const listSchema = z.looseObject({
  data: z.array(z.unknown()).optional(),
  models: z.array(z.unknown()).optional(),
});

interface Page {
  readonly models: readonly ListedModel[];
  /** What the list says beside its models. */
  readonly members: Readonly<Record<string, unknown>>;
}

function pageOfModels(
  format: ClientFormatName,
  models: readonly ListedModel[],
  query: URLSearchParams,
): Buffer {
  const page = paging(format)(models, query);
  const list = FORMATS[format].modelsList(page.models);
  if (Object.keys(page.members).length === 0) return list;
  return Buffer.from(
    JSON.stringify({ ...listSchema.parse(JSON.parse(list.toString('utf8'))), ...page.members }),
  );
}

function paging(format: ClientFormatName): (models: readonly ListedModel[], query: URLSearchParams) => Page {
  if (format === 'messages') return anthropicPage;
  return format === 'gemini' ? geminiPage : (models) => ({ models, members: {} });
}

/** Claude API reference, "List models": `limit` from 1 to 1000, 20 unless said; `after_id` or `before_id`. */
function anthropicPage(models: readonly ListedModel[], query: URLSearchParams): Page {
  const limit = readSize(query, 'limit', 20);
  const before = models.findIndex(({ id }) => id === query.get('before_id'));
  if (before !== -1) {
    const from = Math.max(0, before - limit);
    return { models: models.slice(from, before), members: { has_more: from > 0 } };
  }
  const from = models.findIndex(({ id }) => id === query.get('after_id')) + 1;
  return { models: models.slice(from, from + limit), members: { has_more: from + limit < models.length } };
}

/** Gemini API reference, "models.list": `pageSize` to 1000, 50 unless said; `pageToken` of the page before. */
function geminiPage(models: readonly ListedModel[], query: URLSearchParams): Page {
  const size = readSize(query, 'pageSize', 50);
  const token = query.get('pageToken') ?? '0';
  if (!/^\d{1,6}$/.test(token)) {
    throw new LimenError('invalid_request', "The parameter 'pageToken' is not one of this gateway.", {
      param: 'pageToken',
    });
  }
  const from = Number(token);
  const next = from + size;
  return {
    models: models.slice(from, next),
    members: next < models.length ? { nextPageToken: String(next) } : {},
  };
}

function readSize(query: URLSearchParams, name: string, usual: number): number {
  const text = query.get(name);
  if (text === null || text === '') return usual;
  const size = Number(text);
  if (Number.isInteger(size) && size >= 1) return Math.min(size, 1000);
  throw new LimenError('invalid_request', `The parameter '${name}' must be a whole number from 1.`, {
    param: name,
  });
}
