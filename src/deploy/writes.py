# Run by a poll in a new release, as the app's account: writes, as JSON, where the running app will write, and where its
# static files were collected, to the file of the first argument. Standard output is not used, because the project may print to it.
import importlib, json, os, sys, urllib.parse

answer, wsgi = sys.argv[1:3]
sys.argv = [wsgi]
try:
    importlib.import_module(wsgi)
except BaseException:
    import traceback

    # The trial will fail on this with its own error; the settings are read all the same.
    traceback.print_exc()
found = []


def add(setting, path, directory):
    if path:
        found.append([setting, os.path.realpath(os.fspath(path)), directory])


def collect():
    from django.conf import settings

    for name, database in settings.DATABASES.items():
        path = os.fspath(database.get("NAME") or "")
        if "sqlite" not in database.get("ENGINE", "") and "spatialite" not in database.get("ENGINE", ""):
            continue
        if path.startswith("file:"):
            url = urllib.parse.urlsplit(path)
            options = urllib.parse.parse_qs(url.query)
            if options.get("mode", [""])[0] in ("ro", "memory") or options.get("immutable") == ["1"]:
                continue
            path = urllib.parse.unquote(url.path)
        if path != ":memory:":
            add(f'DATABASES["{name}"]', path, False)
    for name, handler in (settings.LOGGING or {}).get("handlers", {}).items():
        add(f'LOGGING, handler "{name}"', handler.get("filename"), False)
    # Not written by the running app: published from there.
    add("STATIC_ROOT", settings.STATIC_ROOT, True)
    add("MEDIA_ROOT", settings.MEDIA_ROOT, True)
    for name, cache in settings.CACHES.items():
        if cache.get("BACKEND", "").endswith("FileBasedCache"):
            add(f'CACHES["{name}"]', cache.get("LOCATION"), True)
    if settings.SESSION_ENGINE.endswith(".file"):
        add("SESSION_FILE_PATH", settings.SESSION_FILE_PATH, True)


# No Django project, or settings that raise: there is nothing to report, and the trial shows the error.
try:
    collect()
except Exception:
    traceback = importlib.import_module("traceback")
    traceback.print_exc()
with open(answer, "x") as file:
    json.dump(found, file)
