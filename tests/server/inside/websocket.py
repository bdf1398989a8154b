"""websocket.py STOP - until the file STOP exists: opens a WebSocket at /ws through nginx, sends a word, prints how many
sockets were answered, how many were not, and what the last one said."""

import base64
import os
import socket
import struct
import sys
import time

answered = failed = 0
said = ""
while True:
    try:
        with socket.create_connection(("127.0.0.1", 80), timeout=10) as web:
            key = base64.b64encode(os.urandom(16)).decode()
            web.sendall(
                f"GET /ws HTTP/1.1\r\nHost: todo.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            stream = web.makefile("rb")
            status = stream.readline()
            if b" 101 " not in status:
                raise OSError(status)
            while stream.readline().strip():
                pass
            mask, word = os.urandom(4), b"hi"
            web.sendall(struct.pack("!BB", 0x81, 0x80 | len(word)) + mask + bytes(b ^ mask[n % 4] for n, b in enumerate(word)))
            _, length = struct.unpack("!BB", stream.read(2))
            said = stream.read(length).decode()
            answered += 1
    except (OSError, struct.error) as error:
        failed += 1
        print(error, file=sys.stderr)
    if os.path.exists(sys.argv[1]):
        break
    time.sleep(0.05)
print(answered, failed, said)
