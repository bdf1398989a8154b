"""An items/views.py that prints what the running app reaches outside its sandbox, one per line."""
import os
import socket
import ssl
import urllib.request

from django.conf import settings
from django.db import connection
from django.http import HttpResponse

from items.models import Item

VERSION = (settings.BASE_DIR / "VERSION").read_text().strip()


def healthz(request):
    return HttpResponse("ok\n", content_type="text/plain")


def database():
    before = Item.objects.count()
    Item.objects.create()
    return f"{connection.vendor} {Item.objects.count() - before}"


def role():
    with connection.cursor() as cursor:
        cursor.execute("select current_user, inet_client_addr()")
        return cursor.fetchone()


def other_role():
    import psycopg2
    return psycopg2.connect(dbname="todo", user="postgres")


def https():
    return urllib.request.urlopen("https://githost:8443/hello", timeout=20).read().decode().strip()


def peer():
    with socket.socket(socket.AF_UNIX) as to:
        to.connect("/run/cache/cache.sock")
        return to.recv(100).decode()


def page(request):
    lines = [VERSION]
    for name in request.GET.getlist("try"):
        try:
            lines.append(f"{name}: {globals()[name]()}")
        except Exception as error:
            lines.append(f"{name} failed: {' '.join(str(error).split())}")
    return HttpResponse("\n".join(lines) + "\n", content_type="text/plain")
