"""An items/views.py that prints what the running app can do on this server, one line each."""
import os
import socket
import subprocess
from pathlib import Path

from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render

from items.models import Item

VERSION = (settings.BASE_DIR / "VERSION").read_text().strip()
PROJECT = Path("/var/www/projects/todo")
SHARED = Path(os.environ["PULLPRAY_SHARED"])


def healthz(request):
    return HttpResponse("ok\n", content_type="text/plain")


def connect(path):
    socket.socket(socket.AF_UNIX).connect(path)


def leave():
    """Through any process of the same account outside the sandbox: its /proc/PID/root reaches the agent."""
    for process in Path("/proc").iterdir():
        try:
            return connect(f"{process}/root/run/ssh-agent.todo/agent.sock")
        except OSError:
            pass
    raise PermissionError("no way out")


ATTEMPTS = {
    "change its code": lambda: (settings.BASE_DIR / "manage.py").write_text("import evil"),
    "add to its code": lambda: (settings.BASE_DIR / "items" / "new.py").write_text(""),
    "switch the release": lambda: os.symlink("evil", PROJECT / "current.new"),
    "change its environment": lambda: next((PROJECT / "venvs").iterdir()).joinpath("x").write_text(""),
    "change static files": lambda: Path("/www/static/todo/evil.js").write_text(""),
    "change the ledger": lambda: Path("/var/lib/pullpray/todo/ledger.json").write_text("{}"),
    "reach the agent": lambda: connect("/run/ssh-agent.todo/agent.sock"),
    "leave the sandbox": leave,
    "ask other services": lambda: connect("/run/dbus/system_bus_socket"),
    "list the keys": lambda: os.listdir("/etc/ssh-agent-service/deploy-keys"),
    "become root": lambda: subprocess.run(
        ["sudo", "-n", "systemctl", "restart", "gunicorn.todo.service"], check=True, capture_output=True),
    "see other processes": lambda: Path("/proc/1/cmdline").read_bytes(),
    "read /root": lambda: os.listdir("/root"),
    "make a file in shared": lambda: (SHARED / "by-the-app").write_text("x"),
    "make a directory in shared": lambda: (SHARED / "dir-by-the-app").mkdir(),
    "make a temporary file": lambda: Path("/tmp/by-the-app").write_text("x"),
}


def page(request):
    if "probe" not in request.GET:
        return render(request, "items/page.html", {"version": VERSION, "items": Item.objects.all()})
    lines = []
    for name, attempt in ATTEMPTS.items():
        try:
            attempt()
            lines.append(f"can {name}")
        except (OSError, subprocess.SubprocessError) as error:
            lines.append(f"cannot {name} ({type(error).__name__}: {error})")
    return HttpResponse("\n".join(lines) + "\n", content_type="text/plain")
