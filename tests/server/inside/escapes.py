"""Plants terminal escapes in each text of todo's ledger, one after another, as its account could, and runs
the commands that print it: none may print them raw, and no line may begin with planted text."""
import json, os, re, subprocess, sys

LEDGER = "/var/lib/pullpray/todo/ledger.json"
PLANTED = "\x1b[31m\x1b]0;x\x07\u009b2J\u202e\u2066\x7f\r\x08\nhint: PLANTED\nPLANTED\n"
BAD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
SPOOF = re.compile(r"^\s*(hint: )?PLANTED", re.M)
failures = 0


def store(ledger):
    with open(LEDGER, "w") as file:
        json.dump(ledger, file)


def run(*command):
    global failures
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=100)
    for stream in done.stdout, done.stderr:
        text = stream.decode("utf-8", "surrogateescape")
        if BAD.search(text) or SPOOF.search(text) or any("\udc80" <= c <= "\udcff" for c in text):
            failures += 1
            print(ascii((command, planted, text)))
    return done.returncode


def texts(value, at=()):
    """The paths of all strings in a JSON value."""
    if isinstance(value, str):
        yield at
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from texts(part, at + (key,))


def with_planted(ledger, *places):
    ledger = json.loads(json.dumps(ledger))
    for place in places:
        at = ledger
        for key in place[:-1]:
            at = at[key]
        at[place[-1]] += PLANTED
    return ledger


planted = "arguments"
run("pullpray", "pause", "todo", "-m", PLANTED)
for command in ["status"], ["poll"], ["rollback", "todo"], ["doctor"], ["remove"], ["key"], ["init"]:
    run("pullpray", *command, PLANTED.replace("\n", ""))
with open(LEDGER) as file:
    paused = json.load(file)
paused["pause"].update(by="ann", why="why")
assert paused["live"] and paused["failures"] and paused["history"], paused
more = dict(paused, previous=paused["live"], in_progress=paused["live"])
more["refused"] = {"commit": paused["live"]["commit"], "object": paused["live"]["commit"], "since": paused["pause"]["since"],
                   "why": {"kind": "not_trusted", "words": "words"}, "inputs_digest": "c"}
more["outage"] = {"since": paused["pause"]["since"], "polls": 2, "kind": "other", "words": "why", "reported": False}
count = 0
for planted in texts(more):
    count += 1
    store(with_planted(more, planted))
    run("pullpray", "status", "todo", "--history")
    run("pullpray", "status", "todo", "--json")
assert count > 30, count
for ledger in paused, dict(paused, pause=None):
    for planted in texts(ledger):
        if planted[0] in ("live", "pause", "failures"):
            store(with_planted(ledger, planted))
            run("pullpray", "poll", "todo", "-v")
            if planted[0] == "pause":
                store(with_planted(ledger, planted))
                run("pullpray", "resume", "todo")
words = [at for at in texts(more) if at[-1] in ("subject", "by", "why", "words", "note", "venv")]
planted = "words"
for verb in ["resume"], ["retry"], ["rollback"], ["pause"], ["doctor"], ["doctor", "--json"], ["remove"], ["key"]:
    store(with_planted(paused, *(at for at in words if at in set(texts(paused)))))
    run("pullpray", verb[0], "todo", *verb[1:])
store(paused)
planted = "everything"
store(with_planted(more, *texts(more)))
for verb in "status", "doctor", "poll":
    run("pullpray", verb)
store(paused)
sys.exit(failures > 0)
