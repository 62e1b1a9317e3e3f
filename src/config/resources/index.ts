import { z } from 'zod';
import { apiKeySchema } from './api-key.ts';
import { backendSchema } from './backend.ts';
import { gatewaySchema } from './gateway.ts';
import { identityProviderSchema } from './identity-provider.ts';
import { limitPolicySchema } from './limit-policy.ts';
import { modelSchema } from './model.ts';
import { providerSchema } from './provider.ts';
import { roleSchema } from './role.ts';
import { teamSchema } from './team.ts';

/** Every kind, and the one schema that files, admin API, database and reference derive from. */
export const RESOURCE_SCHEMAS = {
  Gateway: gatewaySchema,
  Provider: providerSchema,
  Model: modelSchema,
  ApiKey: apiKeySchema,
  LimitPolicy: limitPolicySchema,
  IdentityProvider: identityProviderSchema,
  Backend: backendSchema,
  Role: roleSchema,
  Team: teamSchema,
} as const;

export type Kind = keyof typeof RESOURCE_SCHEMAS;

export const KINDS: readonly Kind[] = Object.keys(RESOURCE_SCHEMAS).filter(isKind);

/** Whether a word is the name of a kind. */
export function isKind(word: unknown): word is Kind {
  return typeof word === 'string' && Object.hasOwn(RESOURCE_SCHEMAS, word);
}

export const anyResourceSchema = z.discriminatedUnion('kind', [
  gatewaySchema,
  providerSchema,
  modelSchema,
  apiKeySchema,
  limitPolicySchema,
  identityProviderSchema,
  backendSchema,
  roleSchema,
  teamSchema,
]);

export type Resource = z.infer<typeof anyResourceSchema>;
export { gatewaySchema };
export type { ApiKeyResource } from './api-key.ts';
export type { BackendResource } from './backend.ts';
export type { GatewayResource } from './gateway.ts';
export type { IdentityProviderResource } from './identity-provider.ts';
export type { LimitPolicyResource } from './limit-policy.ts';
export type { ModelResource } from './model.ts';
export type { ProviderResource } from './provider.ts';
export type { RoleResource } from './role.ts';
export type { TeamResource } from './team.ts';
