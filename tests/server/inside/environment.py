"""environment APP CASE... - installs each file CASE as the app's environment file. Prints as JSON, one line
each, the resulting variables of a unit and of the deploy script: {name: value} without those of an empty
file, or null if the file was refused. The deploy script saves its environment in shared/environ."""
import json
import os
import subprocess
import sys

app, *cases = sys.argv[1:]
FILE = f"/etc/pullpray/{app}.env"
SEEN = f"/var/www/projects/{app}/shared/environ"


def variables(dump):
    pairs = (pair.partition(b"=") for pair in dump.split(b"\0") if pair)
    return {name.decode(): value.decode() for name, _, value in pairs}


def unit():
    done = subprocess.run(
        ["systemd-run", "--quiet", "--wait", "--pipe", "--property", f"EnvironmentFile={FILE}",
         "/bin/cat", "/proc/self/environ"], stdin=subprocess.DEVNULL, capture_output=True)
    return variables(done.stdout) if done.returncode == 0 else None


def script():
    if os.path.exists(SEEN):
        os.remove(SEEN)
    subprocess.run(["pullpray", "retry", app], check=True, capture_output=True)
    poll = subprocess.run(["pullpray", "poll", app], capture_output=True, text=True)
    if os.path.exists(SEEN):
        assert "the deploy script exited with status 3" in poll.stdout, poll
        with open(SEEN, "rb") as f:
            return variables(f.read())
    assert poll.returncode == 1, poll
    return None


def put(content):
    with open(FILE, "wb") as f:  # in place, to keep owner and mode
        f.write(content)


put(b"")
empty = [unit(), script()]
for case in cases:
    with open(case, "rb") as f:
        put(f.read())
    seen = []
    for before, now in zip(empty, [unit(), script()]):
        seen.append(None if now is None else {n: v for n, v in now.items() if n not in before})
    print(json.dumps(seen))
