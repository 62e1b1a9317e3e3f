import { type IDENTITY_HEADERS } from '../core/gateway-names.ts';
import type { Principal } from '../core/principal.ts';

type IdentityField = (typeof IDENTITY_HEADERS)[keyof typeof IDENTITY_HEADERS];

/** Longest value of one header in bytes; lists end before the first member that doesn't fit. */
const MAX_VALUE_LENGTH = 4096;

const ADMIN_ROLES: ReadonlySet<string> = new Set(['super-admin', 'admin']);

const fieldsOf = new WeakMap<Principal, Readonly<Partial<Record<IdentityField, string>>>>();

/** Who asks, as identity headers tell upstreams that want to know. What is not known is left out. */
export function identityFields(principal: Principal): Readonly<Partial<Record<IdentityField, string>>> {
  const known = fieldsOf.get(principal);
  if (known !== undefined) return known;
  const { user, email = '', name = '', tenant = '', groups, roles, scopes } = principal;
  const fields: Record<IdentityField, string> = {
    user: headerText(user),
    email: headerText(email),
    name: headerText(name),
    groups: list(groups, ','),
    role: list(roles, ','),
    scopes: list(scopes, ' '),
    admin: String(isAdmin(principal)),
    organization: headerText(tenant),
    validated: 'true',
  };
  const told = Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== ''));
  fieldsOf.set(principal, told);
  return told;
}

/** Who bounds a key, or lets an application act in their name, has not handed on what administrators may do. */
function isAdmin({ kind, roles, permissions, surfaces }: Principal): boolean {
  const isBounded = permissions !== undefined || (kind === 'token' && !surfaces.includes('admin'));
  return !isBounded && roles.some((role) => ADMIN_ROLES.has(role));
}

/**
 * What a header can carry: printable ASCII as it is, all else (control characters, other scripts, and the percent sign)
 * percent-encoded in UTF-8. A text that is too long is left out: cut, it would be somebody else's name.
 */
function headerText(text: string): string {
  const encoded = text
    .trim()
    .toWellFormed()
    .replace(/[^\x20-\x24\x26-\x7e]/gu, encodeURIComponent);
  return encoded.length <= MAX_VALUE_LENGTH ? encoded : '';
}

/** Members with a separator between, which is percent-encoded within them. */
function list(members: readonly string[], separator: ',' | ' '): string {
  const escaped = separator === ',' ? '%2C' : '%20';
  let text = '';
  for (const member of members) {
    const encoded = headerText(member).replaceAll(separator, escaped);
    const longer = text === '' ? encoded : `${text}${separator}${encoded}`;
    if (longer.length > MAX_VALUE_LENGTH) break;
    text = longer;
  }
  return text;
}
