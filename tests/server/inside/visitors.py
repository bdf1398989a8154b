"""visitors.py STOP SECONDS-PER-REQUEST URL... - asks each URL without pause until the file STOP is
there, on a new connection each time, two visitors a URL. A line for every answer that was not whole:
when, which, what. At last: how many were asked."""

import http.client
import os
import sys
import threading
import time
from urllib.parse import urlsplit

stop, patience, urls = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
asked = 0
lock = threading.Lock()


def visit(url):
    global asked
    parts = urlsplit(url)
    while not os.path.exists(stop):
        begin = time.monotonic()
        try:
            connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=patience)
            connection.request("GET", parts.path, headers={"Host": "todo.example", "Connection": "close"})
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            wrong = "" if answer.status == 200 and b"version" in body else f"{answer.status} {body[:80]!r}"
        except OSError as error:
            wrong = repr(error)
        except http.client.HTTPException as error:
            wrong = repr(error)
        with lock:
            asked += 1
            if wrong:
                print(f"{begin:.3f} {url} {wrong}", flush=True)


visitors = [threading.Thread(target=visit, args=(url,)) for url in urls for _ in range(2)]
for visitor in visitors:
    visitor.start()
for visitor in visitors:
    visitor.join()
print(asked)
