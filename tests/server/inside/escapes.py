"""Plants what moves a terminal in each text of todo's ledger, one after another, as its account could,
and runs what prints: nothing of it may come out raw, and no line may begin with what was planted."""
import json, os, re, subprocess, sys

LEDGER = "/var/lib/pullpray/todo/ledger.json"
PLANTED = "\x1b[31m\x1b]0;x\x07\u009b2J\u202e\u2066\x7f\r\x08\nhint: PLANTED\nPLANTED\n"
BAD = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff]")
SPOOF = re.compile(r"^\s*(hint: )?PLANTED", re.M)
came_out = 0


def store(ledger):
    with open(LEDGER, "w") as file:
        json.dump(ledger, file)


def run(*command):
    global came_out
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=100)
    for stream in done.stdout, done.stderr:
        text = stream.decode("utf-8", "surrogateescape")
        if BAD.search(text) or SPOOF.search(text) or any("\udc80" <= c <= "\udcff" for c in text):
            came_out += 1
            print(ascii((command, planted, text)))
    return done.returncode


def texts(value, at=()):
    """Where the texts of a JSON value are."""
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
    held = json.load(file)
held["pause"].update(by="ann", why="why")
assert held["live"] and held["failures"] and held["history"], held
more = dict(held, previous=held["live"], under_way=held["live"])
more["refused"] = {"commit": held["live"]["commit"], "object": held["live"]["commit"], "since": held["pause"]["since"],
                   "why": {"kind": "not_trusted", "words": "words"}, "conditions": "c"}
more["outage"] = {"since": held["pause"]["since"], "polls": 2, "why": "why", "reported": False}
count = 0
for planted in texts(more):
    count += 1
    store(with_planted(more, planted))
    run("pullpray", "status", "todo", "--history")
    run("pullpray", "status", "todo", "--json")
assert count > 30, count
for ledger in held, dict(held, pause=None):
    for planted in texts(ledger):
        if planted[0] in ("live", "pause", "failures", "last_check"):
            store(with_planted(ledger, planted))
            run("pullpray", "poll", "todo", "-v")
            if planted[0] == "pause":
                store(with_planted(ledger, planted))
                run("pullpray", "resume", "todo")
words = [at for at in texts(more) if at[-1] in ("subject", "by", "why", "words", "note", "venv")]
planted = "words"
for verb in ["resume"], ["retry"], ["rollback"], ["pause"], ["doctor"], ["doctor", "--json"], ["remove"], ["key"]:
    store(with_planted(held, *(at for at in words if at in set(texts(held)))))
    run("pullpray", verb[0], "todo", *verb[1:])
store(held)
planted = "everything"
store(with_planted(more, *texts(more)))
for verb in "status", "doctor", "poll":
    run("pullpray", verb)
store(held)
sys.exit(came_out > 0)
