"""Answers over TLS at :443 for three git hosts, as their published descriptions of the API say: a commit's status.

GitHub: github/rest-api-description, "repos/create-commit-status". GitLab: doc/api/commits.md, "Set commit pipeline status".
Gitea and Forgejo: templates/swagger/v1_json.tmpl, "repoCreateStatus". What came is in /srv/statuses, one line of JSON each;
while /srv/slow exists, answers wait so many seconds.
"""
import http.server
import json
import os
import re
import ssl
import subprocess
import time

TEXT = (str, type(None))
HOSTS = {
    "api.github.com": {
        "path": r"/repos/acme/todo/statuses/([^/?]+)",
        "states": {"error", "failure", "pending", "success"},
        "fields": {"state": (str,), "target_url": TEXT, "description": TEXT, "context": (str,)},
        "description": 140,
        "unknown": (422, {"message": "No commit found for SHA: {sha}", "status": "422"}),
        "invalid": (422, {"message": "Validation Failed", "status": "422"}),
        "unauthorized": {"message": "Bad credentials", "status": "401"},
        "answer": "state",
    },
    "gitlab.example.org": {
        "path": r"/api/v4/projects/acme%2Ftodo/statuses/([^/?]+)",
        "states": {"pending", "running", "success", "failed", "canceled", "skipped"},
        "fields": {"state": (str,), "ref": (str,), "name": (str,), "context": (str,), "target_url": (str,),
                   "description": (str,), "coverage": (int, float), "pipeline_id": (int,)},
        "description": 255,
        "unknown": (404, {"message": "404 Commit Not Found"}),
        "invalid": (400, {"error": "state does not have a valid value"}),
        "unauthorized": {"message": "401 Unauthorized"},
        "answer": "status",
    },
    "gitea.example.org": {
        "path": r"/api/v1/repos/acme/todo/statuses/([^/?]+)",
        "states": {"pending", "success", "error", "failure", "warning", "skipped"},
        "fields": {"state": (str,), "target_url": (str,), "description": (str,), "context": (str,)},
        "description": 65535,
        "unknown": (404, {"message": "GetCommit"}),
        "invalid": (400, {"message": "invalid state"}),
        "unauthorized": {"message": "token is required"},
        "answer": "status",
    },
}


def is_commit(sha):
    git = ["git", "-c", "safe.directory=*", "--git-dir=/home/git/acme/todo.git", "cat-file", "-e", sha + "^{commit}"]
    return re.fullmatch("[0-9a-f]{40}", sha) and subprocess.run(git, stderr=subprocess.DEVNULL).returncode == 0


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, code, body):
        with open("/srv/statuses", "a") as log:
            log.write(json.dumps({"code": code, **self.came}, ensure_ascii=False) + "\n")
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        self.came = {"method": self.command, "path": self.path}
        self.answer(405, {"message": "Method Not Allowed"})

    do_PUT = do_PATCH = do_DELETE = do_GET

    def do_POST(self):
        name = self.headers.get("Host", "").removesuffix(":443")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.came = {"host": name, "path": self.path, "body": body.decode()}
        if os.path.exists("/srv/slow"):
            time.sleep(float(open("/srv/slow").read()))
        host = HOSTS[name]
        path = re.fullmatch(host["path"], self.path)
        with open("/srv/token-" + name) as token:
            authorized = self.headers.get("Authorization") == "Bearer " + token.read().strip()
        if not self.headers.get("User-Agent"):
            return self.answer(403, {"message": "Request forbidden by administrative rules"})
        if path is None:
            return self.answer(404, {"message": "Not Found"})
        if not authorized:
            return self.answer(401, host["unauthorized"])
        if self.headers.get("Content-Type") != "application/json":
            return self.answer(415, {"message": "Unsupported Media Type"})
        try:
            fields = json.loads(body)
        except ValueError:
            return self.answer(400, {"message": "Problems parsing JSON"})
        known = host["fields"]
        valid = isinstance(fields, dict) and all(
            name in known and isinstance(value, known[name]) for name, value in fields.items())
        if not valid or fields.get("state") not in host["states"] or len(fields.get("description") or "") > host["description"]:
            return self.answer(*host["invalid"])
        sha = path.group(1)
        if not is_commit(sha):
            code, message = host["unknown"]
            return self.answer(code, {key: text.format(sha=sha) for key, text in message.items()})
        self.came = {"host": name, "sha": sha, **fields}
        self.answer(201, {"id": 1, host["answer"]: fields["state"], "context": fields.get("context", "default")})


server = http.server.ThreadingHTTPServer(("", 443), Api)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("/root/server.pem", "/root/server.key")
server.socket = context.wrap_socket(server.socket, server_side=True)
server.serve_forever()
