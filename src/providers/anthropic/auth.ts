import type { CredentialHeader } from '../provider.ts';

/** Claude API reference, "Authentication". */
export const anthropicCredential: CredentialHeader = { header: 'x-api-key', prefix: '' };
