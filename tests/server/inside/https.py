"""Answers over TLS at :8443, with a certificate signed by /root/ca.pem."""
import http.server
import ssl


class Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"hello over TLS\n")


server = http.server.ThreadingHTTPServer(("", 8443), Hello)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/root/server.pem", "/root/server.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
