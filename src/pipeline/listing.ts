import { z } from 'zod';
import { LimenError } from '../core/errors.ts';
import type { Snapshot, VirtualKey } from '../core/snapshot.ts';
import type { Format, ListedModel } from '../formats/format.ts';
import { mayUseModel } from '../stages/authorize.ts';
import { unknownModel } from '../stages/route.ts';
import { JSON_HEADERS, type Answer, type RequestHead } from './answer.ts';

const modelListSchema = z.object({ data: z.array(z.unknown()) });

/** `/health/ready`: there is a snapshot, and a provider in it. */
export function readiness(snapshot: Snapshot): Answer {
  const ready = Object.keys(snapshot.providers).length > 0;
  return {
    kind: 'answer',
    status: ready ? 200 : 503,
    headers: JSON_HEADERS,
    body: Buffer.from(
      `${JSON.stringify({ status: ready ? 'ready' : 'no provider is configured', snapshot: snapshot.version })}\n`,
    ),
  };
}

/** Names of the models that a key may use. */
export function modelNames(snapshot: Snapshot, key: VirtualKey): readonly string[] {
  return Object.keys(snapshot.models).filter((name) => mayUseModel(key, name));
}

/** Models as `/v1/models` lists them: only what the key may use. */
export function listModels(
  format: Format,
  snapshot: Snapshot,
  key: VirtualKey,
  head: RequestHead,
  path: string,
): Answer {
  if (head.method !== 'GET')
    throw new LimenError('invalid_request', `Send a GET request to ${path}.`, { status: 405 });
  const listed = modelNames(snapshot, key).map((name): ListedModel => ({
    id: name,
    ownedBy: snapshot.models[name]?.targets[0]?.provider ?? 'limen',
    created: 0,
  }));
  const wanted = path.slice('/v1/models/'.length);
  if (path === '/v1/models' || wanted === '') {
    return { kind: 'answer', status: 200, headers: JSON_HEADERS, body: format.modelsList(listed) };
  }
  const name = decodedName(wanted);
  const model = listed.find(({ id }) => id === name);
  if (model === undefined) throw unknownModel(name, modelNames(snapshot, key));
  return { kind: 'answer', status: 200, headers: JSON_HEADERS, body: onlyModel(format.modelsList([model])) };
}

/** A name with an escape that is none is nobody's, as it stands. */
function decodedName(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}

/** Every API shows a single model as it shows it within a list. */
function onlyModel(list: Buffer): Buffer {
  const { data } = modelListSchema.parse(JSON.parse(list.toString('utf8')));
  return Buffer.from(JSON.stringify(data[0]));
}
