import { z } from 'zod';
import {
  accessKeySourceSchema,
  baseUrlSchema,
  resourceNameSchema,
  resourceSchema,
  secretSourceSchema,
  upstreamTlsSchema,
} from './common.ts';

/** Provider types that Limen can speak to. Each has a folder of its own under src/providers. */
export const PROVIDER_TYPES = [
  'openai',
  'azure-openai',
  'openai-compatible',
  'anthropic',
  'gemini',
  'vertex',
  'bedrock',
] as const;

type ProviderType = (typeof PROVIDER_TYPES)[number];

/** Model names that a provider of this type answers even where no Model names them. */
export const DEFAULT_MODEL_PREFIXES: Readonly<Record<ProviderType, readonly string[]>> = {
  openai: ['gpt-', 'o1-', 'o3-', 'o4-', 'chatgpt-'],
  'azure-openai': [],
  'openai-compatible': [],
  anthropic: ['claude-'],
  gemini: ['gemini-'],
  vertex: [],
  bedrock: [],
};

/** Fields that not every type has, by the types that have them. */
const FIELD_TYPES = {
  apis: ['openai', 'azure-openai', 'openai-compatible'],
  subjectAsUser: ['openai', 'azure-openai', 'openai-compatible', 'anthropic'],
  apiVersion: ['azure-openai'],
  region: ['bedrock'],
  project: ['vertex'],
  location: ['vertex'],
} as const satisfies Record<string, readonly ProviderType[]>;

/** Fields that a type cannot do without, and what would be right. */
const NEEDED_FIELDS: Readonly<Partial<Record<ProviderType, Readonly<Record<string, string>>>>> = {
  'openai-compatible': { baseUrl: 'a URL such as http://127.0.0.1:8000/v1' },
  'azure-openai': { baseUrl: 'a URL such as https://NAME.openai.azure.com/openai/v1' },
  vertex: { project: 'the ID of a Google Cloud project' },
  bedrock: { region: 'a region of AWS such as us-east-1' },
};

/** The shape of a region or a location: it becomes a part of the host's name. */
const placeSchema = z.string().regex(/^[a-z][a-z0-9-]{0,62}$/, 'lower-case letters, digits and dashes');

const credentialSchema = z.union([...secretSourceSchema.options, accessKeySourceSchema], {
  error:
    'exactly one of env, file and value; for type bedrock also accessKeyId and secretAccessKey, with one each',
});

/** Names that sealing takes for the fields of a secret. */
const SECRET_NAMES: ReadonlySet<string> = new Set(['credential', 'secret']);

const tenantNameSchema = resourceNameSchema.refine(
  (name) => !SECRET_NAMES.has(name),
  'any name but credential and secret',
);

const tenantSchema = z.strictObject({
  credential: credentialSchema.describe('The key of the tenant’s own account'),
  baseUrl: baseUrlSchema.optional().describe('The tenant’s own endpoint; default: that of the provider'),
});

const providerSpecSchema = z
  .strictObject({
    type: z
      .enum(PROVIDER_TYPES)
      .describe('API that it speaks; openai-compatible is the API of OpenAI under any address'),
    baseUrl: baseUrlSchema
      .optional()
      .describe(
        'Where the API lives, version path included: https://api.openai.com/v1. Needed for openai-compatible and azure-openai (https://NAME.openai.azure.com; without a path, /openai/v1 is meant); the others have the public service as default',
      ),
    credential: credentialSchema
      .optional()
      .describe(
        'The key that Envoy injects; none for servers that want none. vertex: the JSON key of a service account, for which access tokens are fetched and renewed. bedrock: a Bedrock API key, or an access key in its parts, with which Envoy signs each request',
      ),
    apis: z
      .array(z.enum(['chat', 'responses']))
      .min(1)
      .max(2)
      .refine((apis) => new Set(apis).size === apis.length, 'each one once')
      .optional()
      .describe(
        'Which of its APIs a server has, Chat Completions and Responses; default: both for openai and azure-openai, chat for openai-compatible',
      ),
    apiVersion: z
      .string()
      .regex(
        /^(\d{4}-\d{2}-\d{2}(-preview)?|preview|latest)$/,
        'a version such as 2024-10-21 or 2025-04-01-preview',
      )
      .optional()
      .describe(
        'azure-openai: a dated version (2024-10-21) asks the older API, with the deployment in the path; default: the v1 API',
      ),
    region: placeSchema.optional().describe('bedrock: region of AWS, such as us-east-1'),
    project: z
      .string()
      .regex(/^[a-z0-9]([a-z0-9.:-]{0,126}[a-z0-9])?$/, 'the ID or number of a Google Cloud project')
      .optional()
      .describe('vertex: ID of the Google Cloud project'),
    location: placeSchema
      .optional()
      .describe('vertex: location such as europe-west4, us, eu or global; default: global'),
    tenants: z
      .record(tenantNameSchema, tenantSchema)
      .refine((tenants) => Object.keys(tenants).length <= 1000, 'at most 1000 tenants')
      .optional()
      .describe('Tenants with an account of their own: their requests go with their credential'),
    tenantsOnly: z.boolean().default(false).describe('Requests of others than the tenants above are refused'),
    identityHeaders: z
      .boolean()
      .default(false)
      .describe('Tells this provider who asks, in headers X-User-Id, X-User-Email, X-User-Groups and so on'),
    subjectAsUser: z
      .boolean()
      .optional()
      .describe(
        'Tells this provider the verified user in the field that names the end user (user; metadata.user_id of Messages), in the place of what the client says; default: false',
      ),
    tls: upstreamTlsSchema,
    connectTimeoutSeconds: z
      .number()
      .positive()
      .max(60)
      .default(5)
      .describe('Longest wait for a connection, before the next target is tried'),
    defaultMaxOutputTokens: z
      .number()
      .int()
      .positive()
      .default(8192)
      .describe('Output limit sent where this provider demands one and the client named none'),
    modelPrefixes: z
      .array(z.string().min(1).max(128))
      .max(64)
      .optional()
      .describe(
        'Model names that begin so go to this provider without a Model; default: gpt-, o1-, o3-, o4- and chatgpt- for the one of type openai, claude- for the one of type anthropic, gemini- for the one of type gemini; [] for none',
      ),
  })
  .superRefine((spec, context) => {
    const { type } = spec;
    const object = (path: string, message: string) =>
      context.addIssue({ code: 'custom', path: [path], message });
    for (const [field, expected] of Object.entries(NEEDED_FIELDS[type] ?? {})) {
      if (!(field in spec)) object(field, `type ${type} needs ${expected}`);
    }
    for (const [field, types] of Object.entries(FIELD_TYPES)) {
      if (field in spec && !types.some((one) => one === type))
        object(field, `only for type ${types.join(', ')}`);
    }
    const accessKey = 'accessKeyId only for type bedrock; exactly one of env, file and value';
    if (type !== 'bedrock' && spec.credential !== undefined && 'accessKeyId' in spec.credential) {
      object('credential', accessKey);
    }
    for (const [tenant, { credential }] of Object.entries(spec.tenants ?? {})) {
      if (type === 'bedrock' || !('accessKeyId' in credential)) continue;
      context.addIssue({ code: 'custom', path: ['tenants', tenant, 'credential'], message: accessKey });
    }
  });

/** An upstream that answers model requests. */
export const providerSchema = resourceSchema('Provider', providerSpecSchema).describe(
  'An upstream that answers model requests.',
);

export type ProviderResource = z.infer<typeof providerSchema>;
