"""What a search tells the report of the models: the winner's figures, and the source's."""

from mlgate.evidence import Artifact, Comparison, Evidence, digest_of
from mlgate.stages.quantize import STAGE

SOURCE, MADE = digest_of(b"source"), digest_of(b"made")


def test_the_winner_and_the_source_stand_with_what_both_were_measured_on() -> None:
    evidence = Evidence(
        uses="quantize",
        inputs={"model": SOURCE},
        comparisons=(
            Comparison(name="accuracy", to="source", value=0.9, reference=0.95),
            Comparison(name="recall", to="source", value=0.1, reference=0.2),
            Comparison(
                name="accuracy", to="source", value=0.1, reference=0.2, labels={"slice": "a"}
            ),
            Comparison(name="mae", to="source", reason="not asked for"),
        ),
        outputs={"best_effort": Artifact(name="m.onnx", digest=MADE, size_bytes=1)},
    )
    assert [(one.model, one.name, dict(one.values)) for one in STAGE.summaries(evidence)] == [
        (MADE, "m.onnx", {"accuracy": 0.9}),
        (SOURCE, "source", {"accuracy": 0.95}),
    ]
    assert STAGE.summaries(Evidence(uses="quantize", inputs={})) == ()
