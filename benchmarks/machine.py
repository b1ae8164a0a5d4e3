"""Figures from /proc on the machine and on running processes."""

import os
import platform
import sys
from pathlib import Path

PROC = Path("/proc")
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU time of these processes, in user and kernel mode."""
    return sum(_ticks(pid) for pid in pids) / TICKS_A_SECOND


def resident_mb(pid: int) -> float:
    """Return the resident memory of the process."""
    return _status_kb(pid, "VmRSS") / 1024


def peak_mb(pid: int) -> float:
    """Return the peak resident memory of the process."""
    return _status_kb(pid, "VmHWM") / 1024


def description() -> dict[str, str]:
    memory_kb = int(_field(PROC / "meminfo", "MemTotal").split()[0])
    return {
        "processor": _field(PROC / "cpuinfo", "model name"),
        "cores": str(os.cpu_count()),
        "memory": f"{memory_kb / 1024 / 1024:.0f} GB",
        "system": f"{platform.system()} {platform.release()}",
        "python": sys.version,
    }


def _ticks(pid: int) -> int:
    # The name of the process may contain any character, and ends at the last parenthesis.
    fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    user, system = fields[11:13]
    return int(user) + int(system)


def _status_kb(pid: int, name: str) -> int:
    return int(_field(PROC / str(pid) / "status", name).split()[0])


def _field(path: Path, name: str) -> str:
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "0"
