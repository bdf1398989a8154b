"""Receives notices: https at :8443 (certificate of /root/ca.pem), http at :8080 (for Apprise), SMTP at :25.
What arrives is a line of JSON in /root/received. /refuse answers 403, /redirect to /moved, /slow never."""
import http.server
import json
import socketserver
import ssl
import threading
import time

lock = threading.Lock()


def note(**what):
    with lock, open("/root/received", "a") as file:
        file.write(json.dumps(what) + "\n")


class Web(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        if self.path == "/slow":
            time.sleep(60)
        status = {"/refuse": 403, "/redirect": 302}.get(self.path.split("?")[0], 200)
        note(by=self.command, path=self.path, status=status, body=body, type=self.headers.get("Content-Type"))
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/moved")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET


class Mail(socketserver.StreamRequestHandler):
    def handle(self):
        def say(line):
            self.wfile.write(line.encode() + b"\r\n")

        say("220 sink")
        to = []
        while line := self.rfile.readline().decode().strip():
            verb = line[:4].upper()
            if verb == "DATA":
                say("354 go on")
                lines = []
                while (text := self.rfile.readline().decode().rstrip("\r\n")) != ".":
                    lines.append(text)
                note(by="mail", to=to, body="\n".join(lines))
            elif verb == "QUIT":
                return say("221 bye")
            elif verb == "RCPT":
                to.append(line)
            say("250 ok")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True


socketserver.ThreadingTCPServer.allow_reuse_address = True
secure, plain = Server(("", 8443), Web), Server(("", 8080), Web)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/root/server.pem", "/root/server.key")
# In the handler's thread, so that one slow client does not hold up the others.
secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
for server in (secure, plain, socketserver.ThreadingTCPServer(("", 25), Mail)):
    threading.Thread(target=server.serve_forever).start()
