/** A worker in a process of its own, started by {@link RemoteWorker}: commands come by IPC, reports go back. */
import { TestWorker, type WorkerOptions } from './worker.ts';
import type { WorkerCommand, WorkerMessage } from './remote-worker.ts';

let worker: TestWorker | undefined;

function tell(message: WorkerMessage): void {
  process.send?.(message);
}

async function obey(command: WorkerCommand): Promise<void> {
  switch (command.kind) {
    case 'start': {
      const options: WorkerOptions = { ...command.options, report: (report) => tell(report) };
      worker = await TestWorker.start(options);
      tell({ kind: 'started' });
      return;
    }
    case 'apply':
      worker?.apply(command.state);
      tell({ kind: 'applied' });
      return;
    case 'load':
      if (worker !== undefined) tell({ kind: 'load', load: worker.load() });
  }
}

process.on('message', (command: WorkerCommand) => void obey(command));
process.on('disconnect', () => process.exit(0));
