"""What a process gives up before it runs code that a model wrote: system calls, paths, and amounts; by ctypes.

seccomp forbids what no tool needs and what could reach the keeper; landlock forbids paths outside the environment where
no mount namespace hides them; rlimits bound each process. All of it holds for children too and cannot be taken back.

Source: the man pages seccomp(2), landlock(7), prctl(2), setrlimit(2); numbers from asm/unistd.h.
"""

import ctypes
import os
import resource
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_SET_NO_NEW_PRIVS, _PR_SET_SUBREAPER = 1, 4, 22, 38, 36
_SECCOMP_MODE_FILTER = 2
_LOAD_WORD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_EPERM, _ENOSYS = 1, 38
_NUMBER, _ARCH, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_NAMESPACE_FLAGS = 0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET
_TIOCSTI = 0x5412

# system call -> number on (x86-64, aarch64); None where it does not exist
_FORBIDDEN: Mapping[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "mount_setattr": (442, 442), "unshare": (272, 97), "setns": (308, 268), "open_by_handle_at": (304, 265),
    "bpf": (321, 280), "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "keyctl": (250, 219), "add_key": (248, 217),
    "request_key": (249, 218), "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224),
    "swapoff": (168, 225), "acct": (163, 89), "syslog": (103, 116), "quotactl": (179, 60), "settimeofday": (164, 170),
    "clock_settime": (227, 112), "adjtimex": (159, 171), "sethostname": (170, 161), "iopl": (172, None),
    "ioperm": (173, None), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    # memory that no limit on a process counts
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190),
}  # fmt: skip
_CLONE, _CLONE3, _KILL_CALL, _TGKILL, _PRLIMIT, _SOCKET, _IOCTL = (
    (56, 220), (435, 435), (62, 129), (234, 131), (302, 261), (41, 198), (16, 29)
)  # fmt: skip
_FAMILIES = (1, 2, 10, 16)
"""Unix, IP, IPv6, netlink: what a network namespace holds. It does not hold vsock, and others only reach the kernel."""
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def _code(operation: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", operation, if_true, if_false, value & 0xFFFFFFFF)


def _filter(protected: Sequence[int], sockets: bool) -> bytes:
    """The BPF program: what is forbidden fails with EPERM, everything else is allowed."""
    column, architecture = _ARCHITECTURES[os.uname().machine]
    refuse, unknown = _code(_RETURN, _ERRNO | _EPERM), _code(_RETURN, _ERRNO | _ENOSYS)
    program = [
        _code(_LOAD_WORD, _ARCH),
        _code(_JUMP_EQUAL, architecture, 1, 0),
        _code(_RETURN, _KILL),
        _code(_LOAD_WORD, _NUMBER),
    ]
    if column == 0:  # the x32 table has the same calls under other numbers
        program += [_code(_JUMP_GREATER_EQUAL, 0x40000000, 0, 1), refuse]

    def rule(call: int, *checks: bytes) -> None:
        """``checks`` run when the number fits, and end by falling through, to load the number again."""
        program.append(_code(_JUMP_EQUAL, call, 0, len(checks) + 1))
        program.extend([*checks, _code(_LOAD_WORD, _NUMBER)])

    for numbers in _FORBIDDEN.values():
        if numbers[column] is not None:
            program += [_code(_JUMP_EQUAL, numbers[column] or 0, 0, 1), refuse]
    program += [_code(_JUMP_EQUAL, _CLONE3[column], 0, 1), unknown]  # its flags lie in memory; libc falls back to clone
    first = _code(_LOAD_WORD, _ARGUMENTS)
    rule(_CLONE[column], first, _code(_JUMP_BITS, _NAMESPACE_FLAGS, 0, 1), refuse)
    reach = [value for pid in protected for value in (pid, -pid)]
    signals = [step for value in [*reach, -1] for step in (_code(_JUMP_EQUAL, value, 0, 1), refuse)]
    rule(_KILL_CALL[column], first, *signals)
    rule(_TGKILL[column], first, *signals)
    rule(_PRLIMIT[column], first, _code(_JUMP_EQUAL, 0, 1, 0), refuse)
    rule(_IOCTL[column], _code(_LOAD_WORD, _ARGUMENTS + 8), _code(_JUMP_EQUAL, _TIOCSTI, 0, 1), refuse)
    families = _FAMILIES if sockets else ()
    allowed = [_code(_JUMP_EQUAL, family, len(families) - index) for index, family in enumerate(families)]
    rule(_SOCKET[column], first, *allowed, refuse)
    return b"".join([*program, _code(_RETURN, _ALLOW)])


def forbid_calls(protected: Sequence[int], *, sockets: bool) -> None:
    """Forbid system calls from now on.

    Args:
        protected: process ids (and groups) that get no signal from here.
        sockets: whether sockets may be made; without a network namespace they may not.

    Raises:
        OSError: seccomp is not available, or not for this processor.
    """
    if os.uname().machine not in _ARCHITECTURES:
        raise OSError(0, f"no list of system calls for {os.uname().machine}")
    program = _filter(protected, sockets)
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(buffer))
    forbid_privileges()
    if _libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.c_char_p(header), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp is not available")


def forbid_privileges() -> None:
    """No program started from here gains a privilege."""
    _control(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


_LANDLOCK_CREATE, _LANDLOCK_ADD, _LANDLOCK_RESTRICT = 444, 445, 446
_LL_EXECUTE, _LL_WRITE_FILE, _LL_READ_FILE, _LL_READ_DIR = 1, 2, 4, 8
_LL_ALL_BY_VERSION = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}
_LL_IOCTL_DEVICE = 1 << 15
_LL_READ = _LL_EXECUTE | _LL_READ_FILE | _LL_READ_DIR
_LL_TCP = 3
_LL_MAKE_DEVICES, _LL_REFER = 1 << 6 | 1 << 11, 1 << 13


def landlock_version() -> int:
    """The version of landlock that the kernel has; 0 for none."""
    return max(0, int(_libc.syscall(_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint32(1))))


def forbid_paths(readable: Sequence[str], writable: Sequence[str]) -> None:
    """Forbid every path but these, and TCP, from now on.

    Args:
        readable: files and folders to read and execute below; those that do not exist are left out.
        writable: folders in which everything is allowed but devices.

    Raises:
        OSError: landlock is not available.
    """
    version = landlock_version()
    if version < 1:
        raise OSError(0, "landlock is not available")
    handled = _LL_ALL_BY_VERSION[min(version, 3)] | (_LL_IOCTL_DEVICE if version >= 5 else 0)
    scoped = 3 if version >= 6 else 0  # abstract unix sockets, signals
    attributes = struct.pack("QQQ", handled, _LL_TCP if version >= 4 else 0, scoped)
    attributes = attributes[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _libc.syscall(_LANDLOCK_CREATE, ctypes.c_char_p(attributes), ctypes.c_size_t(len(attributes)), 0)
    if ruleset < 0:
        raise OSError(ctypes.get_errno(), "landlock is not available")
    try:
        for path, rights in _rules(readable, writable, handled):
            _allow(ruleset, path, rights)
        forbid_privileges()
        if _libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0):
            raise OSError(ctypes.get_errno(), "landlock is not available")
    finally:
        os.close(ruleset)


def forbid_reach() -> None:
    """Keep the memory, descriptors and signals of processes that are no descendants out of reach, if landlock can.

    Any landlock does so; this one forbids nothing else but devices, which nobody could make anyway. The first version
    would forbid to move files between folders, too.
    """
    version = landlock_version()
    if version < 2:
        return
    attributes = struct.pack("QQQ", _LL_MAKE_DEVICES | _LL_REFER, 0, 3 if version >= 6 else 0)
    attributes = attributes[: 8 if version < 4 else 16 if version < 6 else 24]
    ruleset = _libc.syscall(_LANDLOCK_CREATE, ctypes.c_char_p(attributes), ctypes.c_size_t(len(attributes)), 0)
    if ruleset >= 0:
        _allow(ruleset, "/", _LL_REFER)
        forbid_privileges()
        _libc.syscall(_LANDLOCK_RESTRICT, ruleset, 0)
        os.close(ruleset)


def _rules(readable: Sequence[str], writable: Sequence[str], handled: int) -> Iterator[tuple[str, int]]:
    yield from ((path, _LL_READ) for path in readable)
    yield from ((path, handled) for path in writable)
    yield from ((path, _LL_READ_FILE | _LL_WRITE_FILE) for path in ("/dev/null", "/dev/zero"))
    yield from ((path, _LL_READ_FILE) for path in ("/dev/random", "/dev/urandom"))


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            rights &= _LL_EXECUTE | _LL_WRITE_FILE | _LL_READ_FILE
        rule = struct.pack("=QI", rights, descriptor)
        if _libc.syscall(_LANDLOCK_ADD, ruleset, 1, ctypes.c_char_p(rule), 0):
            raise OSError(ctypes.get_errno(), f"landlock refuses {path}")
    finally:
        os.close(descriptor)


def limit_amounts(limits: Mapping[str, int]) -> None:
    """Set the rlimits named ``AS``, ``NPROC``, ``FSIZE``, ``NOFILE``, ``CPU``; no core files. Never raises one."""
    for name, value in (*limits.items(), ("CORE", 0)):
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        try:
            resource.setrlimit(number, (value, value))
        except (ValueError, OSError):
            if sys.platform == "linux":  # elsewhere only the level none runs, and macOS limits no address space
                raise


def become(user: int) -> None:
    """Give up root for a user id (and the group of the same number) that nothing else has."""
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)


def hide_memory(hidden: bool) -> None:
    """Whether other processes of the same user are kept from this one's memory and descriptors."""
    _control(_PR_SET_DUMPABLE, 0 if hidden else 1, 0, 0, 0)


def _control(*numbers: int) -> None:
    """prctl, where there is one: elsewhere only the level ``none`` runs."""
    if sys.platform == "linux":
        _libc.prctl(*numbers)


def adopt_orphans() -> None:
    """Become the parent of whatever children leave behind."""
    _control(_PR_SET_SUBREAPER, 1, 0, 0, 0)


def die_with_parent(signal_number: int) -> None:
    """Get a signal when the parent ends."""
    _control(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
