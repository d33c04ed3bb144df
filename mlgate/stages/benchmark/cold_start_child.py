"""One cold start, in a process of its own: import, load, first and steady answers, as JSON.

Run as a script with one argument, a JSON object; it imports nothing of mlgate, for an import is
part of what is measured.
"""

import contextlib
import json
import sys
import time


def main() -> None:
    """Measure and print one line of JSON; times are nanoseconds of the system's monotonic clock."""
    clock = time.perf_counter_ns
    stamps = {"up": clock()}
    asked = json.loads(sys.argv[1])
    import numpy  # noqa: PLC0415 - the import is what is measured
    import onnxruntime  # noqa: PLC0415

    stamps["imported"] = clock()
    settings = onnxruntime.SessionOptions()
    for name, value in asked["settings"].items():
        kind = type(getattr(settings, name))
        setattr(settings, name, kind(value))
    for name, value in asked["entries"].items():
        settings.add_session_config_entry(name, value)
    settings.log_severity_level = 4
    if not asked["cpu_nodes"]:
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if asked["providers"][0][0] != "CPUExecutionProvider":
        with contextlib.redirect_stdout(sys.stderr):
            onnxruntime.preload_dlls()
    providers = [tuple(provider) for provider in asked["providers"]]
    session = onnxruntime.InferenceSession(
        asked["model"], settings, providers=providers, enable_fallback=0
    )
    session.disable_fallback()
    stamps["loaded"] = clock()
    with numpy.load(asked["feed"], allow_pickle=False) as archive:
        feed = {node.name: archive[f"input{i}"] for i, node in enumerate(session.get_inputs())}
    stamps["fed"] = clock()
    session.run(None, feed)
    stamps["first"] = clock()
    steady: list[int] = []
    while len(steady) < 50 and (len(steady) < 3 or clock() - stamps["first"] < 200_000_000):
        begun = clock()
        session.run(None, feed)
        steady.append(clock() - begun)
    stamps["steady"] = sorted(steady)[len(steady) // 2]
    # Every other load that is served has its turn, for memory grows with the largest query.
    for path in asked["more_feeds"]:
        with numpy.load(path, allow_pickle=False) as archive:
            feed = {node.name: archive[f"input{i}"] for i, node in enumerate(session.get_inputs())}
        for _ in range(3):
            session.run(None, feed)
    stamps["peak_rss"] = _peak_rss()
    sys.stdout.write(json.dumps({"stamps": stamps, "providers": session.get_providers()}) + "\n")


def _peak_rss() -> int:
    """Largest resident set so far, in bytes; 0 where the system does not say."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0


if __name__ == "__main__":
    main()
