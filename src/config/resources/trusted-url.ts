import { isIP } from 'node:net';
import { z } from 'zod';
import { isInRanges } from '../../core/addresses.ts';

const LOOPBACK = ['127.0.0.0/8', '::1/128'];

/** Where tokens and keys come from must not be listened to: https, or no network at all. */
export const trustedUrlSchema = z
  .url({ protocol: /^https?$/, error: 'an https URL' })
  .max(2048)
  .refine((url) => !url.includes('#') && !/\/\/[^/]*@/.test(url), 'a URL without fragment or user name')
  .refine(
    (url) => url.startsWith('https://') || isLoopback(url),
    'an https URL; http only for this machine (127.0.0.1, localhost)',
  );

function isLoopback(url: string): boolean {
  if (!URL.canParse(url)) return false;
  const host = new URL(url).hostname.replace(/^\[(.*)\]$/, '$1');
  return host === 'localhost' || (isIP(host) !== 0 && isInRanges(host, LOOPBACK));
}
