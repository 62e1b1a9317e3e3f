import { TRY_ID_HEADER } from '../core/gateway-names.ts';

/** Before an intent's id in the JSON of a RequestContext. Within a text of a client's own its quotes are escaped. */
const INTENT = Buffer.from('"intentId":"');
const QUOTE = 0x22;
/** In a map of headers: the name, then the tag of the value and its length. */
const TRY = Buffer.concat([Buffer.from(TRY_ID_HEADER), Buffer.from([0x12])]);

/**
 * Whom the entries of an undecoded message are about: the intent ids of requests, and the request ids of failed tries.
 * There may be others among them, for a client can write such bytes into its path; one that is there is never missed.
 */
export function namesIn(message: Buffer): readonly string[] {
  const names: string[] = [];
  for (let at = message.indexOf(INTENT); at >= 0; at = message.indexOf(INTENT, at + 1)) {
    const from = at + INTENT.length;
    const end = message.indexOf(QUOTE, from);
    if (end > from) names.push(message.toString('latin1', from, end));
  }
  for (let at = message.indexOf(TRY); at >= 0; at = message.indexOf(TRY, at + 1)) {
    const from = at + TRY.length + 1;
    const length = message[from - 1] ?? 0;
    names.push(message.toString('latin1', from, from + length));
  }
  return names;
}
