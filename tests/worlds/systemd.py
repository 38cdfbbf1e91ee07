"""A systemd of our own: the first process of new namespaces, over a throw-away copy of this machine.

It has its own processes, files (an overlay in memory), network (loopback only) and cgroups, and runs a unit file as it
stands: DynamicUser, credentials, the watchdog and the whole hardening are real. The kernel's controllers may be missing
in the cgroup, so limits such as MemoryMax= need not be enforced.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.worlds.ports import WorldError, children, tail, wait_until

_ROOT = Path(__file__).parents[2]
_BOOT = Path(__file__).parents[1] / "systemd" / "boot.sh"
_SYSTEMD = Path("/lib/systemd/systemd")
_SPACES = ("--mount", "--pid", "--fork", "--uts", "--ipc", "--net", "--cgroup")
_PROGRAMS = ("unshare", "nsenter", "setpriv", "pivot_root", "ip", "systemctl", "journalctl")


def _search_path() -> str:
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def cgroup_root() -> Path | None:
    """Where the second version of cgroups is mounted; None where it is not."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    return None


def why_not() -> str:
    """Why no systemd can be started here; empty where one can."""
    if os.geteuid() != 0:
        return "needs root and namespaces: not root"
    missing = [name for name in _PROGRAMS if shutil.which(name, path=_search_path()) is None]
    if missing or not _SYSTEMD.exists():
        return f"needs {', '.join(missing) or 'systemd'} (scripts/install-test-packages)"
    root = cgroup_root()
    if root is None or not os.access(root, os.W_OK) or "\toverlay\n" not in Path("/proc/filesystems").read_text():
        return "needs root and namespaces: no cgroup2 to write to, or no overlay file system"
    tried = subprocess.run(["unshare", *_SPACES, "true"], capture_output=True, text=True, timeout=30, check=False)
    return f"needs root and namespaces: {tried.stderr.strip()}" if tried.returncode else ""


class Systemd:
    """One booted systemd with ``unit`` installed, and the program where the unit looks for it."""

    def __init__(self, unit: Path) -> None:
        self.unit = unit.name
        self._source = unit
        self._folder = Path(tempfile.mkdtemp(prefix="mc-systemd-"))
        self._log = self._folder.with_suffix(".log")
        root = cgroup_root()
        assert root is not None, "ask why_not() first"
        self._cgroup = root / self._folder.name
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._cursor = ""

    def start(self) -> None:
        """Boot, and wait until it takes jobs. Dies with this process, whatever happens to it."""
        self._cgroup.mkdir()
        # systemd has to be alone in its cgroup, and below it is its own: joined before the namespace is made.
        join = 'echo $$ > "$1/cgroup.procs" && shift && exec "$@"'
        words: list[str | Path] = ["setpriv", "--pdeathsig", "KILL", "sh", "-c", join, "sh", self._cgroup]
        words += ["unshare", *_SPACES, "--kill-child=KILL", "sh", _BOOT, self._folder, sys.base_prefix]
        words += [Path(sysconfig.get_path("purelib")), _ROOT, self._source]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env={**os.environ, "PATH": _search_path()}
            )
        wait_until(self._booted, 30, "systemd boots", self._log)

    def _booted(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise WorldError(f"systemd did not boot: exit {self._process.returncode}{tail(self._log)}")
        found = children(self._process.pid)
        if not found or Path(f"/proc/{found[0]}/comm").read_text().strip() != "systemd":
            return False
        self._pid = found[0]
        return self.run("systemctl", "is-active", "machine.target", check=False).stdout.strip() == "active"

    def close(self) -> None:
        """End it with all its processes, and remove what is left of it out here."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            wait_until(self._emptied, 10, "the cgroup of systemd is empty", self._log)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._log.unlink(missing_ok=True)

    def _emptied(self) -> bool:
        """Remove the cgroups, the innermost first; False as long as a process is still on its way out."""
        try:
            for folder, _, _ in os.walk(self._cgroup, topdown=False):
                os.rmdir(folder)
        except OSError:
            return False
        return True

    # Inside.

    def path(self, inside: str | Path) -> Path:
        """A file of the machine, as seen from out here. Links are followed out here, so name what they lead to."""
        return Path(f"/proc/{self._pid}/root") / str(inside).lstrip("/")

    def write(self, inside: str, text: str, mode: int = 0o644) -> None:
        """Write a file; folders are made as needed."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def run(self, *words: str, check: bool = True, seconds: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command in there, as root. Raises WorldError where it fails."""
        enter = ["nsenter", "--target", str(self._pid), "--all", "--wd=/", "--", "env", "-i", "PATH=/usr/bin:/bin"]
        done = subprocess.run([*enter, *words], capture_output=True, text=True, timeout=seconds, check=False)
        if check and done.returncode:
            raise WorldError(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}{self.journal()}")
        return done

    def python(self, script: str, *, user: int = 0, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a script with the program's interpreter and packages, as root or another user."""
        become = ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups") if user else ()
        interpreter = ("env", "LD_LIBRARY_PATH=/opt/mailcanary-python/lib", "/opt/mailcanary/bin/python", "-c")
        return self.run(*become, *interpreter, script, check=check)

    def systemctl(self, verb: str, *words: str) -> None:
        """``systemctl VERB … UNIT``."""
        self.run("systemctl", verb, *words, self.unit)

    def show(self, *names: str) -> dict[str, str]:
        """Properties of the unit, as ``systemctl show`` names them."""
        text = self.run("systemctl", "show", self.unit, *(f"--property={name}" for name in names)).stdout
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def becomes(self, seconds: float = 60, **wanted: str) -> None:
        """Wait until the unit has these properties, all at once."""
        wait_until(lambda: self.show(*wanted) == wanted, seconds, f"{self.unit} becomes {wanted}", self._log)

    def drop_in(self, name: str, lines: Sequence[str]) -> None:
        """Add lines to the unit's [Service] section, as ``systemctl edit`` does, and have them read."""
        self.write(f"/etc/systemd/system/{self.unit}.d/{name}.conf", "\n".join(["[Service]", *lines, ""]))
        self.run("systemctl", "daemon-reload")

    def journal(self) -> str:
        """What the unit has said, and systemd about it, since the last ``reset``."""
        since = [f"--after-cursor={self._cursor}"] if self._cursor else []
        self.run("journalctl", "--sync", check=False)
        words = ("journalctl", f"--unit={self.unit}", "--output=cat", "--no-pager", *since)
        return self.run(*words, check=False).stdout

    def says(self, text: str, seconds: float = 20) -> str:
        """Wait for a text in the journal, which may be read before the last lines have come; then all of it."""
        wait_until(lambda: text in self.journal(), seconds, f"{self.unit} says {text!r}", self._log)
        return self.journal()

    def reset(self) -> None:
        """Stop the unit; forget its failures, drop-ins, state and journal."""
        self.run("systemctl", "stop", self.unit, check=False)
        self.run("systemctl", "reset-failed", check=False)
        for each in self.path(f"/etc/systemd/system/{self.unit}.d").glob("*.conf"):
            if each.name != "machine.conf":
                each.unlink()
        for folder in ("/etc/mailcanary", "/var/lib/private/mailcanary"):
            shutil.rmtree(self.path(folder), ignore_errors=True)
        self.run("systemctl", "daemon-reload")
        self.run("journalctl", "--sync", check=False)
        # Of this unit: a cursor that the unit filter does not match makes journalctl skip the first line that it does.
        words = ("journalctl", f"--unit={self.unit}", "--lines=1", "--show-cursor", "--no-pager")
        shown = self.run(*words, check=False).stdout
        self._cursor = shown.rpartition("-- cursor: ")[2].strip() if "-- cursor: " in shown else ""
