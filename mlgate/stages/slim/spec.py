"""Options of the slim stage: the image, how it runs, what is asked of it, how far to go."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from mlgate.evidence import Frozen, tuples
from mlgate.stage import Duration, FileInput, Input, ModelInput, Options, Size

Level = Literal["file", "package", "static"]
LEVELS: tuple[Level, ...] = ("file", "package", "static")


class ImageInput(Input):
    """An image: a name that the Docker Engine has, `oci:FOLDER`, or `docker-archive:FILE`."""

    kind: ClassVar[str] = "image"

    engine: str | None = Field(None, min_length=1, description="Name of an image of the engine.")

    @model_validator(mode="before")
    @classmethod
    def _where(cls, value: Any) -> Any:
        text = value.get("path") if isinstance(value, dict) else value
        if not isinstance(text, str):
            return tuples(value)
        for prefix in ("oci:", "docker-archive:"):
            if text.startswith(prefix):
                return {"path": text.removeprefix(prefix)}
        if isinstance(value, dict) or text.startswith((".", "/")) or text.endswith(".tar"):
            return {"path": text}
        return {"engine": text.removeprefix("docker:")}

    def _ways(self) -> tuple[object, ...]:
        return (self.path, self.from_, self.engine)


class Run(Frozen):
    """How the image is run."""

    args: tuple[str, ...] | None = Field(
        None, description="In place of the image's command; may say `{port}`."
    )
    env: dict[str, str] = Field({}, description="Variables; their values may say `{port}`.")
    port: int | None = Field(
        None, ge=1, le=65535, description="Where it listens; default: the one port it exposes."
    )
    network: Literal["host", "bridge"] | None = Field(
        None, description="Default: bridge where the engine has one, else host."
    )
    gpus: bool = Field(False, description="Whether it is given the machine's GPUs.")
    memory: Size | None = Field(None, description="Limit of its memory.")
    timeout: Duration = Field("60s", description="A start that takes longer is an error.")


class Ready(Frozen):
    """What tells that the server answers."""

    request: str = Field("GET /healthz", description="Method and path.")
    status: int = Field(200, ge=100, le=599, description="Status of the answer that means yes.")


class Probe(Frozen):
    """What is asked of the image: while it is traced, and when the slim one has to prove itself."""

    replay: FileInput = Field(description="Golden requests, JSON Lines.")
    holdout: float = Field(
        0.5, ge=0, lt=1, description="Share of them that is only asked to verify, never to trace."
    )
    extra: tuple[str, ...] = Field((), description="More requests, as `GET /openapi.json`.")
    imports: bool = Field(
        True, description="Import what first-party code names, also inside of functions."
    )
    first_party: tuple[str, ...] = Field(
        (), description="Folders of your own code; default: the image's working directory."
    )
    commands: tuple[tuple[str, ...], ...] = Field(
        (), description="Commands run inside while it is traced."
    )


class Verify(Frozen):
    """When two answers are the same."""

    rtol: float = Field(0.0, ge=0, description="Relative tolerance of numbers in JSON.")
    atol: float = Field(0.0, ge=0, description="Absolute tolerance of numbers in JSON.")
    ignore: tuple[str, ...] = Field(
        (), description="Places that may differ, as `body.request_id` or `header etag`."
    )
    starts: int = Field(2, ge=2, le=20, description="Starts of each image, in turns.")


class Slim(Options):
    """A smaller serving image that is proven to answer the same."""

    uses: Literal["slim"] = "slim"
    image: ImageInput = Field(description="The image to make smaller.")
    platform: str | None = Field(
        None, pattern=r"^linux/[a-z0-9/]+$", description="Which of an index; default: the only one."
    )
    run: Run = Field(default_factory=Run, description="How it is run.")
    ready: Ready = Field(default_factory=Ready, description="When it answers.")
    probe: Probe = Field(description="What is asked of it.")
    level: Level = Field("file", description="How much goes: file is the most.")
    escalate: bool = Field(True, description="A mismatch means the next safer level.")
    keep: tuple[str, ...] = Field((), description="Paths that stay, as `/srv/**`.")
    drop: tuple[str, ...] = Field((), description="Paths that go, whatever needs them.")
    verify: Verify = Field(default_factory=Verify, description="When answers are the same.")
    model: ModelInput | None = Field(None, description="The gated model: it has to be inside.")
    tag: str | None = Field(
        None,
        pattern=r"^[a-z0-9][a-z0-9._/-]*:[\w][\w.-]{0,127}$",
        description="Name that the engine gives the slim image, once it is verified.",
    )

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if any(not path.startswith("/") for path in (*self.keep, *self.drop)):
            raise ValueError("keep and drop are absolute paths of the image, such as /srv/**")
        return self
