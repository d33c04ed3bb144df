"""Options of the quantize stage: the model or vectors, the data, and how far to search."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from mlgate.evidence import Frozen, rounded
from mlgate.gate import Gate
from mlgate.metrics.options import CommandMetric, PythonMetric, Task
from mlgate.stage import Dataset, Duration, FileInput, ModelInput, Options

Scheme = Literal[
    "int8-qdq",
    "int8-qdq-per-tensor",
    "int8-qdq-mixed",
    "int8-dynamic",
    "int8-weight-dq",
    "int8-weight-nbits",
    "int4-weight-nbits",
    "a16w8",
    "fp16",
]
Step = Literal["preprocess", "equalize", "bias-correct"]


class Evaluation(Dataset):
    """Labelled rows that decide: a part to search on, and a part that only the winner meets."""

    confirm: float = Field(
        0.75,
        gt=0,
        le=1,
        description="Share of the rows kept for the winner. 1: all, with `search:` given apart.",
    )
    seed: int = Field(0, ge=0, description="Of the rule that splits the rows.")
    slices: tuple[str, ...] = Field(
        (), description="Columns; most metrics are also measured for each of their values."
    )


class Limits(Frozen):
    """Where the search stops."""

    trials: int = Field(12, ge=1, le=200, description="Candidates whose accuracy is measured.")
    seconds: Duration = Field("5m", description="No new candidate is begun after this long.")


class Calibration(Dataset):
    """Rows that show the model's activations; labels are not needed."""

    samples: int = Field(128, ge=1, description="Rows used, chosen by a seeded rule.")


class Cascade(Frozen):
    """The quantized model answers where it is sure, the source model elsewhere."""

    max_drop: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="Accuracy that the pair may lose: a gate on `cascade.accuracy`, unless there is one.",
    )
    max_share: float = Field(
        0.5, gt=0, le=1, description="Largest share of requests that may reach the source model."
    )


class Vectors(Frozen):
    """An embedding matrix to compress for search, in place of a model."""

    matrix: FileInput = Field(description="`.npy`, float, one row per vector.")
    queries: FileInput = Field(description="`.npy`, float, one row per query.")
    k: int = Field(10, ge=1, le=1000, description="Neighbours that recall looks at.")
    space: Literal["cosine", "ip", "l2"] = Field("cosine", description="What nearness means.")
    confirm: float = Field(
        0.75, gt=0, lt=1, description="Share of the queries kept for the winner."
    )
    seed: int = Field(0, ge=0, description="Of the split and of the codebooks.")


class Quantize(Options):
    """Make a model smaller, and prove on held-out data that it keeps its accuracy."""

    uses: Literal["quantize"] = "quantize"
    model: ModelInput | None = Field(None, description="The ONNX model to quantize.")
    calibration: Calibration | None = Field(None, description="Rows that show its activations.")
    evaluation: Evaluation | None = Field(None, description="Labelled rows that decide.")
    candidate: ModelInput | None = Field(
        None,
        description="A model of your own (trained for int8, a vendor's, quantized already): it is "
        "judged against `model` by the same gates. With `schemes`, it is one more entry of the search.",
    )
    search: Dataset | None = Field(
        None, description="Labelled rows to search on, instead of a part of `evaluation`."
    )
    vectors: Vectors | None = Field(None, description="Compress vectors instead of a model.")

    task: Task = Field("classification", description="What the model does: decides the metrics.")
    output: str | None = Field(None, description="Model output to score; default: the first.")
    batch_axis: dict[str, Annotated[int, Field(ge=1, le=7)]] = Field(
        {},
        description="Axis of the batch, for inputs and outputs where it is not the first: "
        "`{probs: 1}` of an output [time, batch, classes].",
    )
    classes: tuple[str, ...] = Field((), description="Class names, in the order of the scores.")
    top_k: tuple[int, ...] = Field((), description="Also measure `accuracy.top<k>`.")
    threshold: float = Field(0.5, description="Score of a single-column model that means class 1.")
    metrics: dict[str, PythonMetric | CommandMetric] = Field(
        {}, description="Your own metrics; each is measured as `custom.<name>`."
    )

    schemes: tuple[Scheme, ...] = Field(
        (), description="Kinds of candidates to try; default: what fits the model, smallest first."
    )
    prepare: tuple[Step, ...] = Field(
        ("preprocess", "equalize", "bias-correct"),
        description="Steps before quantization; each is dropped when it changes the outputs.",
    )
    provider: Literal["cpu", "cuda", "tensorrt", "openvino", "qnn"] = Field(
        "cpu", description="Where the model will run; decides uint8 or int8 activations."
    )
    exclude: tuple[str, ...] = Field((), description="Names of nodes that stay as they are.")
    limits: Limits = Field(default_factory=Limits, description="Where the search stops.")
    batch_size: int = Field(32, ge=1, le=4096, description="Samples per inference; recorded.")
    latency: bool = Field(
        False, description="Measure latency against the source: on when a gate asks for it."
    )
    duplicates: Literal["refuse", "drop"] = Field(
        "refuse", description="What to do with calibration rows that are evaluation rows too."
    )
    passthrough: bool = Field(
        False, description="A model with nothing to quantize is handed on as it is."
    )
    cascade: Cascade | None = Field(None, description="Also find a cascade's operating point.")

    @model_validator(mode="after")
    def _one_subject(self) -> Self:
        if (self.model is None) == (self.vectors is None):
            raise ValueError("give either model or vectors")
        if self.model is None and self.candidate is not None:
            raise ValueError("a candidate needs the model that it is compared with")
        if self.model is not None and self.evaluation is None:
            raise ValueError("a model needs evaluation: rows to measure it on")
        if self.model is not None and self.searches and self.calibration is None:
            raise ValueError("a model needs calibration: rows to measure it on")
        return self

    @property
    def searches(self) -> bool:
        """Whether models are made: always, but where one's own candidate is all there is to judge."""
        return self.candidate is None or bool(self.schemes)

    @model_validator(mode="after")
    def _cascade_is_gated(self) -> Self:
        """What a cascade promises is a gate, as if it had been written."""
        asked = self.cascade
        if asked is None or asked.max_drop == 0:
            return self
        if any(gate.metric == "cascade.accuracy" for gate in self.gates):
            return self
        promise = Gate(
            metric="cascade.accuracy", compared_to="source", max_drop=rounded(asked.max_drop)
        )
        object.__setattr__(self, "gates", (*self.gates, promise))
        return self

    @property
    def wants_latency(self) -> bool:
        """Whether latency is measured: asked for, or gated."""
        timed = {"latency_ms.p50", "speedup"}
        return self.latency or any(gate.metric in timed for gate in self.gates)
