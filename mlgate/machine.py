"""Facts about this machine that evidence may depend on, and the limits under which we run on it."""

import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CGROUPS: Final = Path("/sys/fs/cgroup")
_MEMBERSHIP: Final = Path("/proc/self/cgroup")
_GOVERNOR: Final = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
# What cgroup v1 says where there is no limit: the largest multiple of a page.
_UNLIMITED_BYTES: Final = 1 << 60


def hardware() -> dict[str, str]:
    """What a measured time depends on: processor, cores, limits, GPUs. The same on every call here.

    A container with a tenth of a CPU is other hardware than the machine that it runs on.
    """
    quota = cpu_quota()
    memory = memory_limit()
    return {
        "machine": platform.machine(),
        "processor": processor(),
        "cores": str(len(_affinity())),
        "cpu_quota": "" if quota is None else f"{quota:g}",
        "memory_limit": "" if memory is None else str(memory),
        "governor": _text(_GOVERNOR).strip(),
        "gpus": ", ".join(gpus()),
        "gpus_visible": os.environ.get("CUDA_VISIBLE_DEVICES", ""),
    }


def cores() -> int:
    """Cores that this process may use at once: those of its affinity, at most its quota."""
    visible = len(_affinity())
    quota = cpu_quota()
    if quota is None:
        return visible
    return max(1, min(visible, int(quota)))


def cpu_quota(root: Path = CGROUPS, membership: Path = _MEMBERSHIP) -> float | None:
    """Processors' worth of time that the control group grants, e.g. 0.1; None without a limit.

    The tightest of the process's group and those above it (cgroup v2: cpu.max; v1:
    cpu.cfs_quota_us).
    """
    found = []
    for group in _groups("cpu", root, membership):
        limit, _, period = _text(group / "cpu.max").strip().partition(" ")
        if not limit:
            limit = _text(group / "cpu.cfs_quota_us").strip()
            period = _text(group / "cpu.cfs_period_us").strip()
        if limit.isdigit() and period.isdigit() and int(period) > 0:
            found.append(int(limit) / int(period))
    return min(found, default=None)


def memory_limit(root: Path = CGROUPS, membership: Path = _MEMBERSHIP) -> int | None:
    """Bytes that the control group lets the process use; None without a limit."""
    found = []
    for group in _groups("memory", root, membership):
        limit = _text(group / "memory.max").strip()
        limit = limit or _text(group / "memory.limit_in_bytes").strip()
        if limit.isdigit() and int(limit) < _UNLIMITED_BYTES:
            found.append(int(limit))
    return min(found, default=None)


@dataclass(frozen=True)
class Throttling:
    """How often the kernel has stopped the control group because its quota was used up."""

    periods: int
    throttled: int

    def since(self, earlier: "Throttling") -> "Throttling":
        """What was added after `earlier`."""
        return Throttling(self.periods - earlier.periods, self.throttled - earlier.throttled)


def throttling(root: Path = CGROUPS, membership: Path = _MEMBERSHIP) -> Throttling:
    """Periods so far, and those that ended throttled, of the group with the most; 0 without a quota."""
    most = Throttling(0, 0)
    for group in _groups("cpu", root, membership):
        stat = _text(group / "cpu.stat")
        counts = dict(re.findall(r"^(nr_periods|nr_throttled) (\d+)$", stat, re.MULTILINE))
        here = Throttling(int(counts.get("nr_periods", 0)), int(counts.get("nr_throttled", 0)))
        if here.throttled > most.throttled or here.periods > most.periods:
            most = here
    return most


def gpus() -> tuple[str, ...]:
    """Models of the NVIDIA GPUs whose driver is loaded."""
    found = []
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        match = re.search(r"^Model:\s*(.+)$", _text(path), re.MULTILINE)
        found.append(match[1].strip() if match else "unknown")
    return tuple(found)


def memory_bytes() -> int | None:
    """Physical memory, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def processor() -> str:
    """The processor's model name."""
    match = re.search(r"^model name\s*:\s*(.+)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    return match[1].strip() if match else platform.processor()


def _affinity() -> set[int]:
    try:
        return os.sched_getaffinity(0)
    except AttributeError:  # not on macOS
        return set(range(os.cpu_count() or 1))


def _groups(controller: str, root: Path, membership: Path) -> Iterator[Path]:
    """Folders of the process's control group for a controller and of the groups above it.

    A container mostly sees its own group as the root, whatever /proc says of the path outside.
    """
    for line in _text(membership).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        names = controllers.split(",")
        if names == [""] and path:
            mounted = root
        elif controller in names:
            mounted = root / controller
        else:
            continue
        group = Path(path.lstrip("/"))
        for above in (group, *group.parents):
            yield mounted / above


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
