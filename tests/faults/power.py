"""Power cuts, simulated over the traced system calls of a writer.

A cut keeps everything that was fsynced, and of the rest a random part: of each write any of its sectors of
512 bytes, of the changes to the folder any number of the first.
"""

import random
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

SECTOR = 512
CALLS = "openat,pwrite64,write,fsync,fdatasync,ftruncate,?rename,?renameat,?renameat2,?unlink,unlinkat"
_LINE = re.compile(r"(\w+)\((.*)\)\s+= (\d+)")
_HEX = re.compile(r"(?:\\x[0-9a-f]{2})+")
_FILE = re.compile(r"\d+<([^>]*)>")


class Call(NamedTuple):
    """A system call that succeeded; a write to standard output is `said`."""

    name: str
    path: str  # of the file it is on, or that it creates, removes or renames
    data: bytes = b""  # what it writes, or the new path
    number: int = 0  # the offset, or the new size


def trace(command: list[str], folder: Path, into: Path) -> list[Call]:
    """Run a command until it ends or kills itself; return its calls that change the folder, and what it says."""
    strace = ["strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "1000000", "-o", str(into), "-e", f"trace={CALLS}"]
    subprocess.run([*strace, *command], stdout=subprocess.DEVNULL, check=False)
    with into.open() as lines:
        calls = [_call(*found.groups()) for line in lines if (found := _LINE.search(line))]
    return [call for call in calls if call.name == "said" or call.path.startswith(str(folder))]


def _call(name: str, arguments: str, result: str) -> Call:
    texts = [bytes.fromhex(text.replace("\\x", "")) for text in _HEX.findall(arguments)]
    on = _FILE.match(arguments)
    if name == "openat":
        return Call("create", texts[-1].decode() if "O_CREAT" in arguments else "")
    if name.startswith(("rename", "unlink")):
        return Call(name[:6], texts[0].decode(), texts[-1])
    if name == "write" and arguments.startswith("1<"):
        return Call("said", "", texts[-1])
    numbers = re.findall(r", (\d+)", arguments)
    data = texts[-1][: int(result)] if "write" in name else b""
    return Call(name, texts[0].decode() if on else "", data, int(numbers[-1]) if numbers else 0)


@dataclass
class File:
    """What the disk holds of a file, and what it was told since."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Call] = field(default_factory=list)


@dataclass
class Disk:
    """Files by name, as processes see them and as they were when the folder was last synced."""

    names: dict[str, File] = field(default_factory=dict)
    durable_names: dict[str, File] = field(default_factory=dict)
    pending_names: list[dict[str, File]] = field(default_factory=list)  # after each change since

    def do(self, call: Call) -> None:
        """Carry out a call."""
        file = self.names.get(call.path)
        if call.name in ("create", "rename", "unlink"):
            self._rename(call)
        elif call.name in ("pwrite64", "write", "ftruncate") and file:
            file.pending.append(call)
        elif call.name in ("fsync", "fdatasync") and file:
            for written in file.pending:
                _write(file.durable, written)
            file.pending.clear()
        elif call.name in ("fsync", "fdatasync"):  # of the folder
            self.durable_names = dict(self.names)
            self.pending_names.clear()

    def _rename(self, call: Call) -> None:
        if call.name == "create":
            if call.path in self.names:
                return
            self.names[call.path] = File()
        elif (file := self.names.pop(call.path, None)) and call.name == "rename":
            self.names[call.data.decode()] = file
        self.pending_names.append(dict(self.names))

    def cut(self, chance: random.Random, into: Path) -> None:
        """Write what a power cut now would leave."""
        kept = chance.choice([self.durable_names, *self.pending_names])
        into.mkdir()
        for name, file in kept.items():
            content = bytearray(file.durable)
            for call in file.pending:
                _write(content, call, chance)
            (into / Path(name).name).write_bytes(content)


def _write(content: bytearray, call: Call, chance: random.Random | None = None) -> None:
    """Carry out a write or a truncation; with `chance`, a part of it."""
    if call.name == "ftruncate":
        if chance is None or chance.random() < 0.5:
            content[call.number :] = bytes(max(0, call.number - len(content)))
        return
    start = call.number
    while start < call.number + len(call.data):
        end = min(start - start % SECTOR + SECTOR, call.number + len(call.data))
        if chance is None or chance.random() < 0.5:
            content.extend(bytes(max(0, end - len(content))))
            content[start:end] = call.data[start - call.number : end - call.number]
        start = end


def cuts(calls: list[Call], seed: int, into: Path) -> Iterator[tuple[Path, bytes]]:
    """Cut the power before every call and after the last; yield what is left, and what was said by then."""
    chance = random.Random(seed)
    disk, said = Disk(), b""
    for number, call in enumerate([*calls, Call("end", "")]):
        if call.name == "said":
            said = call.data
            continue
        folder = into / str(number)
        disk.cut(chance, folder)
        yield folder, said
        disk.do(call)
