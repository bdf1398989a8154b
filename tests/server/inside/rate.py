"""rate.py STOP RATE URL - requests the URL RATE times a second, on a new connection each, until the file STOP exists.
A request is timed from the moment at which it is due. Prints the number of requests, of those that did not show a
version, and the longest and the median time in ms; then a line for each of the first ten failures."""

import asyncio
import os
import statistics
import sys
import time
from urllib.parse import urlsplit

stop, rate, url = sys.argv[1], float(sys.argv[2]), urlsplit(sys.argv[3])
request = f"GET {url.path} HTTP/1.0\r\nHost: todo.example\r\n\r\n".encode()
times, wrong = [], []


async def visit(due):
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection(url.hostname, url.port or 80), 30)
        writer.write(request)
        answer = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        if not (answer.split(b"\r\n", 1)[0].endswith(b"200 OK") and b"version" in answer):
            wrong.append(repr(answer[:120]))
    except (OSError, asyncio.TimeoutError) as error:
        wrong.append(repr(error))
    times.append(time.monotonic() - due)


async def main():
    begin, number, running = time.monotonic(), 0, set()
    while not os.path.exists(stop):
        due = begin + number / rate
        await asyncio.sleep(max(0, due - time.monotonic()))
        visitor = asyncio.create_task(visit(due))
        running.add(visitor)
        visitor.add_done_callback(running.discard)
        number += 1
    if running:
        await asyncio.wait(running)


asyncio.run(main())
print(len(times), len(wrong), round(max(times) * 1000), round(statistics.median(times) * 1000))
for line in wrong[:10]:
    print(line)
