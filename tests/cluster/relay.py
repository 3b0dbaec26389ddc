"""Passes TCP connections on to a server, or holds them up. It is a process of its own, so that callers do not slow it down.

    relay.py SERVER_PORT PORT…    one port for each gateway

Commands on standard input, one a line: `PORT pass`, `PORT cut` (nothing passes, connections stay open), `PORT deaf`
(what the server says does not pass) and `PORT delay FROM TO` (milliseconds, in each direction).
"""

import asyncio
import random
import sys

CHUNK = 65536


class Way:
    """The way through one port."""

    def __init__(self, server):
        self.server = server
        self.open = {"up": asyncio.Event(), "down": asyncio.Event()}
        self.delay = None
        self.set(["pass"])

    def set(self, command):
        what = command[0]
        self.delay = tuple(float(ms) / 1000 for ms in command[1:3]) if what == "delay" else None
        for direction, event in self.open.items():
            if what == "cut" or (what == "deaf" and direction == "down"):
                event.clear()
            else:
                event.set()

    async def accept(self, reader, writer):
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.server)
        except OSError:
            writer.close()
            return
        await asyncio.gather(
            self.pump(reader, server_writer, "up"), self.pump(server_reader, writer, "down"), return_exceptions=True
        )

    async def pump(self, reader, writer, direction):
        """Moves bytes on, each after its delay, in their order."""
        queue = asyncio.Queue(1000)
        task = asyncio.create_task(self.write(queue, writer, direction))
        try:
            while data := await reader.read(CHUNK):
                late = random.uniform(*self.delay) if self.delay else 0
                await queue.put((asyncio.get_running_loop().time() + late, data))
        except OSError:
            pass
        await queue.put((0, None))
        await task

    async def write(self, queue, writer, direction):
        try:
            while True:
                due, data = await queue.get()
                await self.open[direction].wait()
                if (wait := due - asyncio.get_running_loop().time()) > 0:
                    await asyncio.sleep(wait)
                    await self.open[direction].wait()
                if data is None:
                    break
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.close()


async def main():
    server, *ports = map(int, sys.argv[1:])
    ways = {port: Way(server) for port in ports}
    for port, way in ways.items():
        await asyncio.start_server(way.accept, "127.0.0.1", port)
    print("ready", flush=True)
    commands = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(commands), sys.stdin)
    while line := await commands.readline():
        port, *command = line.decode().split()
        ways[int(port)].set(command)
        print("done", flush=True)


asyncio.run(main())
