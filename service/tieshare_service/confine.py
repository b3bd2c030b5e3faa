"""Takes from a process what reading one file does not need, before it reads it.

Landlock   may read the named files and folders and no others, and write nowhere (Linux 5.13 on).
seccomp    no socket, no further process, no other program, no look into other processes.

Both are Linux's and hold for good, whoever runs the process; neither needs a right to be set.
"""

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long

_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2  # of prctl
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on every architecture
_VERSION, _BENEATH = 1, 1

_EXECUTE, _READ_FILE, _READ_FOLDER = 1 << 0, 1 << 2, 1 << 3
_RIGHTS = (13, 14, 15, 15, 16)  # how many rights to files each version of Landlock knows

_LOAD, _JUMP_EQUAL, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06  # of Berkeley's packet filter
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16  # where they lie in what the filter sees
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_NEW_THREAD = 0x00010000  # flag of clone
_X32 = 0x40000000  # bit of the numbers of x86-64's second set of calls

_SIZE_OF_LINE = 8


# Name of a system call -> its number on x86-64 and on 64-bit ARM. Refused with EPERM.
_NEVER = {
    "bpf": (321, 280),
    "connect": (42, 203),
    "execve": (59, 221),
    "execveat": (322, 281),
    "io_uring_setup": (425, 425),
    "keyctl": (250, 219),
    "kill": (62, 129),
    "mount": (165, 40),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434),
    "pidfd_send_signal": (424, 424),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "setns": (308, 268),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "tkill": (200, 130),
    "unshare": (272, 97),
}
_FORKS = (57, 58)  # fork and vfork, which x86-64 alone has
_CLONE, _CLONE3, _TGKILL = (56, 220), (435, 435), (234, 131)
_TOKENS = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # of the architectures, in this order


class NotConfined(Exception):
    """This system has no such means."""


def confine(readable: Iterable[Path]) -> list[str]:
    """Hold this process, which must have one thread, to reading what is named.

    Returns which of the two means this system does not have. Files that are open stay so.
    """
    _libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    missing = []
    for name, hold in (("Landlock", partial(_hold_files, readable)), ("seccomp", _hold_calls)):
        try:
            hold()
        except NotConfined:
            missing.append(name)
    return missing


def _hold_files(readable: Iterable[Path]) -> None:
    version = _libc.syscall(_CREATE_RULESET, None, 0, _VERSION)
    if version < 1:
        raise NotConfined
    rights = (1 << _RIGHTS[min(version, len(_RIGHTS)) - 1]) - 1
    handled = struct.pack("Q", rights)
    rules = _checked(_libc.syscall(_CREATE_RULESET, handled, len(handled), 0))
    try:
        for path in readable:
            _allow(rules, path)
        _checked(_libc.syscall(_RESTRICT_SELF, rules, 0))
    finally:
        os.close(rules)


def _allow(rules: int, path: Path) -> None:
    """What is not there needs no rule."""
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        rights = _READ_FILE | (_EXECUTE | _READ_FOLDER if path.is_dir() else 0)
        rule = struct.pack("=Qi", rights, opened)  # without padding
        _checked(_libc.syscall(_ADD_RULE, rules, _BENEATH, rule, 0))
    finally:
        os.close(opened)


def _hold_calls() -> None:
    machine = platform.machine()
    if machine not in _TOKENS:
        raise NotConfined
    code = b"".join(_program(machine))
    program = ctypes.create_string_buffer(code, len(code))
    header = struct.pack("HxxxxxxP", len(code) // _SIZE_OF_LINE, ctypes.addressof(program))
    if _libc.prctl(_SET_SECCOMP, _FILTER, header, 0, 0) != 0:
        raise NotConfined


def _program(machine: str) -> Iterator[bytes]:
    """What is looked at, each with the answer behind it."""
    column = list(_TOKENS).index(machine)
    refuse, allow = _line(_RETURN, _REFUSE | errno.EPERM), _line(_RETURN, _ALLOW)
    yield _line(_LOAD, _ARCHITECTURE)
    yield _line(_JUMP_EQUAL, _TOKENS[machine], skip_if=1)
    yield refuse
    yield _line(_LOAD, _NUMBER)
    yield _line(_JUMP_SET, _X32, skip_unless=1)
    yield refuse
    for number in {*(numbers[column] for numbers in _NEVER.values()), *_FORKS[: 2 - 2 * column]}:
        yield _line(_JUMP_EQUAL, number, skip_unless=1)
        yield refuse
    # A new thread is allowed, but with clone3 that lies where no filter can look: as if the kernel
    # did not have it.
    yield _line(_JUMP_EQUAL, _CLONE3[column], skip_unless=1)
    yield _line(_RETURN, _REFUSE | errno.ENOSYS)
    yield _line(_JUMP_EQUAL, _CLONE[column], skip_unless=4)
    yield _line(_LOAD, _FIRST_ARGUMENT)
    yield _line(_JUMP_SET, _NEW_THREAD, skip_if=1)
    yield refuse
    yield allow
    yield _line(
        _JUMP_EQUAL, _TGKILL[column], skip_unless=3
    )  # what abort() sends to its own process
    yield _line(_LOAD, _FIRST_ARGUMENT)
    yield _line(_JUMP_EQUAL, os.getpid(), skip_if=1)
    yield refuse
    yield allow


def _line(code: int, value: int, *, skip_if: int = 0, skip_unless: int = 0) -> bytes:
    """Of the filter: after a comparison, so many lines are skipped."""
    return struct.pack("HBBI", code, skip_if, skip_unless, value)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
