"""Slim: a smaller serving image that is proven to answer the same."""

from collections.abc import Iterator

from mlgate.evidence import Measured
from mlgate.stage import Installs, Job, Metric, Stage
from mlgate.stages.slim.figures import advice, figures
from mlgate.stages.slim.spec import Slim


def _measure(job: Job[Slim]) -> Measured:
    from mlgate.stages.slim.run import measure

    return measure(job)


def _conflicts(options: Slim) -> Iterator[tuple[tuple[str | int, ...], str, str | None]]:
    if options.image.from_ is not None:
        hint = "name an image of the engine, oci:FOLDER, or docker-archive:FILE"
        yield ("image",), "an image that another stage makes is not read", hint
    for index, gate in enumerate(options.gates):
        if gate.metric == "cold_start_ms" and options.verify.starts < 6:
            hint = "set verify: {starts: 6}, or more"
            yield ("gates", index, "metric"), "too few starts to bound a time at 95 %", hint


_SOURCE = ("source",)

METRICS = (
    Metric("size_bytes", "Bytes of the files in the slim image's layers, unpacked.", "B", (), _SOURCE, better="lower"),
    Metric("compressed_bytes", "Bytes of its layers as a registry keeps them: what a pull moves.", "B", better="lower"),
    Metric("size_ratio", "Size over the source's.", "1", better="lower"),
    Metric("wasted_bytes", "Bytes of the source that its own layers hide.", "B", better="lower"),
    Metric("efficiency", "Share of the source's bytes that can be seen.", "1", maximum=1, better="higher"),
    Metric("replay.mismatches", "Answers and behaviour that differ from the source's.", "count", ("set",), better="lower"),
    Metric("cold_start_ms", "From the start to the first true answer, both in turns.", "ms", (), _SOURCE, better="lower"),
    Metric("packages.removed", "Packages of which no code is left.", "count", better="higher"),
    Metric("packages.kept", "Packages of which code is left.", "count", better="lower"),
)  # fmt: skip

STAGE = Stage(
    uses="slim",
    summary="Make a serving image smaller, and prove that it answers the same.",
    options=Slim,
    measure=_measure,
    metrics=METRICS,
    judged=("image", "model"),
    outputs={
        "image": "image",
        "sbom": "file",
        "archive": "file",
        "kept": "file",
        "dropped": "file",
    },
    references=_SOURCE,
    packages=("docker",),
    exclusive=lambda _: True,
    hardware=True,
    gpu=lambda options: options.run.gpus,
    installs=lambda _: Installs(extras=("slim",), debian=("strace",), services=("docker",)),
    uncacheable=lambda options: (
        None if options.image.engine is None else "a name in the engine may stand for another image"
    ),
    conflicts=_conflicts,
    figures=figures,
    advice=advice,
)
