"""Passes on what comes to ports of one address, `forwarding.py ADDRESS 5432=/path/of/a/socket`, until stdin closes."""

import asyncio
import sys
from contextlib import suppress

READ_BYTES = 65_536

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def connected(upstream: str) -> Connection:
    if upstream.startswith("/"):
        return await asyncio.open_unix_connection(upstream)
    host, _, port = upstream.rpartition(":")
    return await asyncio.open_connection(host, int(port))


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(READ_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


async def main(address: str, *ports: str) -> None:
    servers = []
    for one in ports:
        port, _, upstream = one.partition("=")

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream: str = upstream) -> None:
            server_reader, server_writer = await connected(upstream)
            await asyncio.gather(pass_on(reader, server_writer), pass_on(server_reader, writer))

        servers.append(await asyncio.start_server(accept, address, int(port)))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
