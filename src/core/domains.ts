import { createHash } from 'node:crypto';

/**
 * The limit domain that a tenant's requests belong to: always the same for the same names. A name more or less moves no
 * tenant but to or from that domain (highest random weight, Thaler and Ravishankar 1998). Who has no tenant belongs to
 * the first one.
 */
export function domainOf(domains: readonly string[], tenant: string): string {
  const [first = ''] = domains;
  if (domains.length === 1 || tenant === '') return first;
  return domains
    .map((name) => ({ name, weight: weightOf(name, tenant) }))
    .reduce((best, one) => (one.weight > best.weight ? one : best)).name;
}

function weightOf(domain: string, tenant: string): number {
  return createHash('sha256').update(`${domain}/${tenant}`).digest().readUIntBE(0, 6);
}
