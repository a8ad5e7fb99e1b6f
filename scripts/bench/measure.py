"""One command, run to its end: how long it took and what it used.

The operating system's own accounting is read (wait4). A process that Python
starts directly is charged with the memory of the Python it was forked from, so
a small shell forks it, and hands it over to us by ending.
"""

import ctypes
import os
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field

PR_SET_CHILD_SUBREAPER = 36
# Waits for a line, so that its own start is not measured.
LAUNCHER = 'pid=$1; shift; read -r _; "$@" </dev/null & echo $! >"$pid"'
# Nothing here takes this long; what does is hanging, seconds.
LIMIT = 600

# Where a command's output goes: through a pipe to a reader that keeps nothing.
PIPE = "pipe"


@dataclass
class Step:
    """A command, where its output goes, and what has to be gone before it."""

    argv: list
    stdout: str = os.devnull
    env: dict = field(default_factory=dict)
    remove: list = field(default_factory=list)
    # Files: the command is ended, and done, when one of them has its first bytes.
    until: list = field(default_factory=list)


@dataclass
class Usage:
    """What a run took: seconds, seconds, MiB; and how many requests it made."""

    wall: float
    cpu: float
    peak: float
    requests: float = 0


class Failed(Exception):
    """A command that did not end well."""


def become_reaper():
    """Makes processes whose parents ended children of this one."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def run(step, env):
    """Runs a step and gives its usage; `Failed` with what it said otherwise."""
    with tempfile.TemporaryDirectory() as folder, open(f"{folder}/stderr", "w+b") as stderr:
        sink, stdout = output(step.stdout)
        try:
            usage, status = accounted(step, {**env, **step.env}, stdout, stderr, f"{folder}/pid")
        finally:
            os.close(stdout)
            if sink:
                sink.wait()
        if status != 0:
            stderr.seek(0)
            said = stderr.read(2000).decode(errors="replace").strip()
            raise Failed(f"{' '.join(map(str, step.argv))[:200]}: status {status}: {said}")
    return usage


def output(place):
    """The descriptor to write to, and the process that reads from it, if any."""
    if place != PIPE:
        return None, os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    read, write = os.pipe()
    sink = subprocess.Popen(["cat"], stdin=read, stdout=subprocess.DEVNULL)
    os.close(read)
    return sink, write


def has_bytes(paths):
    """Whether one of the files has bytes. Space that was reserved reads as zeros."""
    for path in filter(os.path.exists, paths):
        with open(path, "rb") as file:
            if file.read(64).strip(b"\0"):
                return True
    return False


def arrival(pid, paths):
    """When one of the files had its first bytes; `None` if the process ended before."""
    while not os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        if has_bytes(paths):
            return time.monotonic()
        time.sleep(0.0002)
    return None


def accounted(step, env, stdout, stderr, pid_file):
    shell = subprocess.Popen(
        ["/bin/sh", "-c", LAUNCHER, "sh", pid_file, *map(str, step.argv)],
        stdin=subprocess.PIPE, stdout=stdout, stderr=stderr, env=env, start_new_session=True,
    )
    begun = time.monotonic()
    shell.communicate(b"\n")
    with open(pid_file) as file:
        pid = int(file.read())
    # The group is what the command itself has started, too.
    timer = threading.Timer(LIMIT, os.killpg, (shell.pid, signal.SIGKILL))
    timer.start()
    arrived = None
    try:
        if step.until and (arrived := arrival(pid, step.until)):
            os.killpg(shell.pid, signal.SIGKILL)
        _, status, used = os.wait4(pid, 0)
    except BaseException:
        os.killpg(shell.pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    finally:
        timer.cancel()
    wall = (arrived or time.monotonic()) - begun
    usage = Usage(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
    return usage, 0 if arrived else os.waitstatus_to_exitcode(status)
