import { z } from 'zod';
import { CSRF_HEADER, SESSION_COOKIES } from './authentication.ts';
import { errorSchema } from './contract.ts';
import type { Route } from './router.ts';

type Json = Readonly<Record<string, unknown>>;

const DEFINITIONS = '#/$defs/';
const COMPONENTS = '#/components/schemas/';

/**
 * The admin API as an OpenAPI 3.1 document, made of nothing but its routes.
 *
 * @throws Error where two schemas that differ have one name
 */
export function openApiDocument(routes: readonly Route[], version: string): Json {
  const schemas = new Components();
  const paths: Record<string, Record<string, Json>> = {};
  for (const route of routes) {
    const path = pathOf(route);
    paths[path] = { ...paths[path], [route.method.toLowerCase()]: operation(route, schemas) };
  }
  return {
    openapi: '3.1.1',
    info: {
      title: 'Limen admin API',
      version,
      description:
        'Everything that the command line and the console do. Names and times are those of docs/configuration.md.',
      license: { name: 'Apache-2.0', identifier: 'Apache-2.0' },
    },
    servers: [{ url: '/' }],
    tags: [...new Set(routes.map(({ tag }) => tag))]
      .sort((left, right) => left.localeCompare(right))
      .map((name) => ({ name })),
    paths: sorted(paths),
    components: {
      schemas: sorted(schemas.all),
      securitySchemes: {
        bearer: {
          type: 'http',
          scheme: 'bearer',
          description:
            'The admin token, a virtual key with the surface admin, or a token of an IdentityProvider',
        },
        session: {
          type: 'apiKey',
          in: 'cookie',
          name: SESSION_COOKIES.plain,
          description: `Cookie of POST /api/v1/sessions (over TLS: ${SESSION_COOKIES.secure}); what changes something needs the header ${CSRF_HEADER}, too`,
        },
      },
    },
  };
}

/** Schemas that have a name, each once. */
class Components {
  readonly all: Record<string, Json> = {};

  /** The schema as JSON Schema, with what has a name taken out. */
  of(schema: z.ZodType, io: 'input' | 'output'): Json {
    const made: Json = JSON.parse(
      JSON.stringify(z.toJSONSchema(schema, { io, target: 'draft-2020-12' })).replaceAll(
        `"${DEFINITIONS}`,
        `"${COMPONENTS}`,
      ),
    );
    const { $schema: _, $defs: definitions, id, ...rest } = made;
    for (const [name, definition] of Object.entries(
      z.record(z.string(), jsonSchema).parse(definitions ?? {}),
    ))
      this.#add(name, definition);
    if (typeof id !== 'string') return rest;
    this.#add(id, rest);
    return { $ref: `${COMPONENTS}${id}` };
  }

  #add(name: string, definition: Json): void {
    const { id: _, ...schema } = definition;
    const known = this.all[name];
    if (known !== undefined && JSON.stringify(known) !== JSON.stringify(schema))
      throw new Error(`Two schemas of the admin API are named ${name}.`);
    this.all[name] = schema;
  }
}

const jsonSchema = z.record(z.string(), z.unknown());
const objectSchema = z.object({
  properties: z.record(z.string(), jsonSchema).default({}),
  required: z.array(z.string()).default([]),
});

function pathOf({ path }: Route): string {
  return path.replace(/[:*](\w+)/g, '{$1}');
}

const MEDIA_TYPES = {
  json: 'application/json',
  form: 'application/x-www-form-urlencoded',
  text: '*/*',
} as const;

function operation(route: Route, schemas: Components): Json {
  const { method, path, permission, summary, tag, params, query, body, bodyType } = route;
  const parameters = [...parametersOf(params, 'path', schemas), ...parametersOf(query, 'query', schemas)];
  const isPublic = permission === 'public';
  return {
    operationId: [method.toLowerCase(), ...(path.match(/\w+/g) ?? [])]
      .filter((word) => word !== 'api' && word !== 'v1')
      .join('_'),
    summary,
    tags: [tag],
    security: isPublic ? [] : [{ bearer: [] }, { session: [] }],
    ...(isPublic ? {} : { 'x-limen-permission': typeof permission === 'string' ? [permission] : permission }),
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(body === undefined
      ? {}
      : {
          requestBody: {
            required: true,
            content: {
              [MEDIA_TYPES[bodyType]]: {
                schema: schemas.of(body, 'input'),
              },
            },
          },
        }),
    responses: responsesOf(route, schemas),
  };
}

function responsesOf(route: Route, schemas: Components): Json {
  const schema = schemas.of(route.response, 'output');
  const content = { [schema['type'] === 'string' ? 'text/plain' : 'application/json']: { schema } };
  const others = Object.entries(route.otherStatuses).map(([status, description]) => [
    status,
    { description, content },
  ]);
  return {
    [route.status]: { description: 'Done', content },
    ...Object.fromEntries(others),
    default: {
      description: 'Not done; the message says why',
      content: { 'application/json': { schema: schemas.of(route.errorSchema ?? errorSchema, 'output') } },
    },
  };
}

function parametersOf(
  schema: z.ZodType | undefined,
  place: 'path' | 'query',
  schemas: Components,
): readonly Json[] {
  if (schema === undefined) return [];
  const { properties, required } = objectSchema.parse(schemas.of(schema, 'input'));
  return Object.entries(properties).map(([name, { description, ...rest }]) => ({
    name,
    in: place,
    required: place === 'path' || required.includes(name),
    ...(description === undefined ? {} : { description }),
    schema: rest,
  }));
}

function sorted<Value>(record: Readonly<Record<string, Value>>): Record<string, Value> {
  return Object.fromEntries(
    Object.entries(record).sort(([left], [right]) => (left < right ? -1 : left > right ? 1 : 0)),
  );
}
