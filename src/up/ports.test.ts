import { once } from 'node:events';
import { createServer, type Server } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { pickFreePort, requireFreePorts } from './ports.ts';

let server: Server | undefined;

afterEach(() => {
  server?.close();
  server = undefined;
});

const names = { variable: 'LIMEN_GATEWAY_PORT', flag: '--gateway-port' };

describe('requireFreePorts', () => {
  it('is silent where the port is free', async () => {
    const port = await pickFreePort();
    await expect(requireFreePorts([{ port, address: '0.0.0.0', ...names }])).resolves.toBeUndefined();
  });

  it.each(['0.0.0.0', '127.0.0.1'])('names port, owner and setting where %s is taken', async (address) => {
    server = createServer().listen(0, address);
    await once(server, 'listening');
    const bound = server.address();
    const port = typeof bound === 'object' && bound !== null ? bound.port : 0;
    await expect(requireFreePorts([{ port, address: '0.0.0.0', ...names }])).rejects.toThrow(
      new RegExp(
        `^Port ${port} is taken by process ${process.pid} \\(.+\\): stop that, or set LIMEN_GATEWAY_PORT \\(--gateway-port\\) to another one\\.$`,
      ),
    );
  });

  it('says what is wrong with an address that this machine does not have', async () => {
    const port = await pickFreePort();
    await expect(requireFreePorts([{ port, address: '192.0.2.1', ...names }])).rejects.toThrow(
      `Cannot listen on 192.0.2.1 port ${port}`,
    );
  });
});

describe('pickFreePort', () => {
  it('takes none that systems give to connections, and none that is taken', async () => {
    const ports = await Promise.all(Array.from({ length: 50 }, () => pickFreePort()));
    expect(Math.max(...ports)).toBeLessThan(32_768);
    await Promise.all(
      ports.map((port) =>
        expect(requireFreePorts([{ port, address: '127.0.0.1', ...names }])).resolves.toBeUndefined(),
      ),
    );
  });

  it('says so where it cannot listen at all', async () => {
    await expect(pickFreePort('192.0.2.1')).rejects.toThrow('There is no free port on 192.0.2.1');
  });
});
