import type { StreamAccessLogsMessage, TokenUsage } from './access-log-messages.ts';
import { ProtocolFiles, type Codec } from './load.ts';
import type { PriorityGroupsOverride, ProcessingRequest, ProcessingResponse } from './messages.ts';

export type { Codec } from './load.ts';

/** Codecs of the processor's hot path: compiled once, fed with the raw Buffers of gRPC messages. */
export interface ProcessorProtocol {
  readonly processingRequest: Codec<ProcessingRequest>;
  readonly processingResponse: Codec<ProcessingResponse>;
  readonly priorityGroupsOverride: Codec<PriorityGroupsOverride>;
  readonly streamAccessLogsMessage: Codec<StreamAccessLogsMessage>;
  readonly tokenUsage: Codec<TokenUsage>;
}

/** gRPC method paths of the services that the processor serves. */
export const EXTERNAL_PROCESSOR_PATH = '/envoy.service.ext_proc.v3.ExternalProcessor/Process';
export const ACCESS_LOG_PATH = '/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs';

/** Type URL of what travels as google.protobuf.Any. */
export const PRIORITY_GROUPS_OVERRIDE_TYPE =
  'type.googleapis.com/envoy.extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupsOverride';

/** Reads proto/limen/{ext_proc,access_log}.proto; about 20 ms, once at start. */
export function loadProcessorProtocol(): ProcessorProtocol {
  const files = new ProtocolFiles('ext_proc.proto', 'access_log.proto');
  return {
    processingRequest: files.codec('limen.ext_proc.ProcessingRequest'),
    processingResponse: files.codec('limen.ext_proc.ProcessingResponse'),
    priorityGroupsOverride: files.codec('limen.ext_proc.PriorityGroupsOverride'),
    streamAccessLogsMessage: files.codec('limen.access_log.StreamAccessLogsMessage'),
    tokenUsage: files.codec('limen.access_log.TokenUsage'),
  };
}
