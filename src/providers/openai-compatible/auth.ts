import type { CredentialHeader } from '../provider.ts';

/** OpenAI API reference, "Authentication". */
export const openaiCompatibleCredential: CredentialHeader = { header: 'authorization', prefix: 'Bearer ' };
