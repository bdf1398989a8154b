"""bench.py ROUNDS - runs commands in turns and compares them. Standard input: a line for each, NAME, USER and
COMMAND separated by tabs; the first is what the others are compared to. A command before " ;; " runs untimed first.
Prints for each the median of the wall time and of the CPU time, of all its processes, in ms and as a ratio; the highest
peak memory of one process, in MiB; and the median of what was written to disks, in kB."""

import os
import pwd
import statistics
import subprocess
import sys
import time

rounds = int(sys.argv[1])
rows = [line.rstrip("\n").split("\t") for line in sys.stdin if line.strip()]


def written():
    with open("/proc/self/io") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("write_bytes"))


def run(user, command):
    account = pwd.getpwnam(user)
    process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        user=account.pw_uid, group=account.pw_gid, extra_groups=[],
        cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": account.pw_dir, "PULLPRAY_BY": "cron"},
    )
    error = process.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{command!r} ended with {process.returncode}: {error}")
    return usage


results = {name: [] for name, _, _ in rows}
for turn in range(rounds + 1):
    for name, user, command in rows:
        before, _, timed = command.rpartition(" ;; ")
        if before:
            run(user, before)
        disk, begin = written(), time.monotonic()
        usage = run(user, timed)
        wall = time.monotonic() - begin
        if turn:  # The first turn fills caches.
            cpu = usage.ru_utime + usage.ru_stime
            results[name].append((wall * 1000, cpu * 1000, usage.ru_maxrss / 1024, (written() - disk) / 1000))

print(f"{'median of ' + str(rounds):<34}{'wall ms':>9}{'ratio':>7}{'CPU ms':>9}{'ratio':>7}{'MiB':>6}{'kB out':>8}")
base = None
for name, _, _ in rows:
    columns = list(zip(*results[name]))
    wall, cpu, disk = (statistics.median(columns[at]) for at in (0, 1, 3))
    base = base or (wall, cpu)
    print(f"{name:<34}{wall:9.1f}{wall / base[0]:7.2f}{cpu:9.1f}{cpu / base[1]:7.2f}{max(columns[2]):6.1f}{disk:8.1f}", flush=True)
