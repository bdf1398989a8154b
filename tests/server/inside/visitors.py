"""visitors.py STOP SECONDS-PER-REQUEST URL... - requests each URL without pause until the file STOP
exists, on a new connection each time, with two visitors per URL. Prints a line for every incomplete response:
time, URL, response. The last line is the number of requests."""

import http.client
import os
import sys
import threading
import time
from urllib.parse import urlsplit

stop, timeout_seconds, urls = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
requests = 0
lock = threading.Lock()


def visit(url):
    global requests
    parts = urlsplit(url)
    while not os.path.exists(stop):
        begin = time.monotonic()
        try:
            connection = http.client.HTTPConnection(parts.hostname, parts.port or 80, timeout=timeout_seconds)
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
            requests += 1
            if wrong:
                print(f"{begin:.3f} {url} {wrong}", flush=True)


visitors = [threading.Thread(target=visit, args=(url,)) for url in urls for _ in range(2)]
for visitor in visitors:
    visitor.start()
for visitor in visitors:
    visitor.join()
print(requests)
