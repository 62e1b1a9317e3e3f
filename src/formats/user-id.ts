import { createHash } from 'node:crypto';
import { fieldName } from './field-names.ts';
import type { HubRequest } from './hub.ts';
import type { WarningList } from './warnings.ts';

/** OpenAI refuses longer identifiers of end users ("Safety best practices", safety identifiers). */
const MAX_USER_LENGTH = 64;

/** An identifier that fits: a long one becomes its SHA-256 in hex, which tells users apart just as well. */
export function fittedUser(user: string): string {
  return user.length <= MAX_USER_LENGTH ? user : createHash('sha256').update(user).digest('hex');
}

/** The same for a user whom the client named. */
export function fitUser(request: HubRequest, warnings: WarningList): string | undefined {
  const { user } = request;
  if (user === undefined || user.length <= MAX_USER_LENGTH) return user;
  warnings.approximated(
    fieldName(request.format, 'user'),
    `Identifiers may have ${String(MAX_USER_LENGTH)} characters here: its SHA-256 was sent.`,
  );
  return fittedUser(user);
}
