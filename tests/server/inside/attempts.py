"""An items/views.py that runs each line of shared/attempts in a shell and prints the exit codes."""
import os
import subprocess
from pathlib import Path

from django.http import HttpResponse

SHARED = Path(os.environ["PULLPRAY_SHARED"])


def healthz(request):
    return HttpResponse("ok\n", content_type="text/plain")


def page(request):
    lines = ["version one"]
    if "attempts" in request.GET:
        for line in (SHARED / "attempts").read_text().splitlines():
            ended = subprocess.run(["/bin/sh", "-c", line], capture_output=True, text=True, timeout=30)
            lines.append(f"{ended.returncode} {line}")
    return HttpResponse("\n".join(lines) + "\n", content_type="text/plain")
