import { LimenError } from '../core/errors.ts';

/**
 * A token that is not taken. What failed goes to the log alone: who forges tokens learns nothing of it.
 *
 * @param reason in a few words
 * @param message for the client, where an honest one can do something with it
 */
export function refusal(reason: string, message?: string): LimenError {
  return new LimenError(
    'invalid_token',
    message ??
      'This token is not valid here. Get a new one from an issuer that this gateway trusts, meant for this gateway.',
    { cause: new Error(reason) },
  );
}
