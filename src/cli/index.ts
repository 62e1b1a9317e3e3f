import type { Command } from 'commander';
import { registerApplyCommand } from './apply.ts';
import type { CliContext } from './context.ts';
import { registerDemoCommands } from './demo.ts';
import { registerDoctorCommand } from './doctor/doctor.ts';
import { registerGetCommand } from './get.ts';
import { registerKeysCommands } from './keys.ts';

/** Adds every command that speaks to the admin API: keys, get, apply, doctor; and the stand-ins for trying Limen out. */
export function registerAdminCommands(program: Command, context: CliContext): void {
  registerKeysCommands(program, context);
  registerApplyCommand(program, context);
  registerGetCommand(program, context);
  registerDoctorCommand(program, context);
  registerDemoCommands(program, context);
}
