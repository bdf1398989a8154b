from django.conf import settings
from django.http import HttpResponse
from django.shortcuts import render

from items.models import Item

# Read once, when the process starts: a page that shows a new version comes from a new process.
VERSION = (settings.BASE_DIR / "VERSION").read_text().strip()


def page(request):
    return render(request, "items/page.html", {"version": VERSION, "items": Item.objects.order_by("id")})


def healthz(request):
    Item.objects.exists()
    return HttpResponse("ok\n", content_type="text/plain")
