import { chat } from './chat/index.ts';
import type { Format } from './format.ts';
import type { FormatName } from './hub.ts';
import { messages } from './messages/index.ts';

/** Every format, by name. A new one is a folder and a line here. */
export const FORMATS: Readonly<Record<FormatName, Format>> = { chat, messages };

/** Whether a name is a format's: for what comes back from outside this process. */
export function isFormat(name: string): name is FormatName {
  return Object.hasOwn(FORMATS, name);
}
