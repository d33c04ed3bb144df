"""Facts about this machine that evidence may depend on."""

import os
import platform
import re
from pathlib import Path


def hardware() -> dict[str, str]:
    """What a measured time depends on: processor, cores, GPUs. The same on every call here."""
    return {
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": str(cores()),
        "gpus": ", ".join(gpus()),
    }


def cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return os.cpu_count() or 1


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


def _processor() -> str:
    match = re.search(r"^model name\s*:\s*(.+)$", _text(Path("/proc/cpuinfo")), re.MULTILINE)
    return match[1].strip() if match else platform.processor()


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
