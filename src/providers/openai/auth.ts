import type { CredentialHeader } from '../provider.ts';

/** OpenAI API reference, "Authentication". */
export const openaiCredential: CredentialHeader = { header: 'authorization', prefix: 'Bearer ' };
