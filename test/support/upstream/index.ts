export { anthropic } from './anthropic.ts';
export type { Answer, AnswerToolCall, AnswerUsage, Breakage, Dialect, ReceivedRequest } from './dialect.ts';
export { openai } from './openai.ts';
export { RecordedRequest, type Closing } from './recorded-request.ts';
export {
  answer,
  answerGzipped,
  delayed,
  resetBeforeHeaders,
  type Script,
  silent,
  stream,
  wrongContentType,
} from './script.ts';
export { refusedUrl, type ScriptedUpstream, startUpstream } from './server.ts';
