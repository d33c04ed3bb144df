"""The files of each template are what its scripts make and what its README says of them."""

import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import joblib
import numpy as np
import onnx
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

TEMPLATES = Path(__file__).parent.parent / "templates"
DIGITS = TEMPLATES / "digits"
TABULAR = TEMPLATES / "tabular"
MODELS = {DIGITS: "digits", TABULAR: "tumours"}
LABELS = {DIGITS: "digit", TABULAR: "diagnosis"}
FOLDERS = pytest.mark.parametrize("folder", [DIGITS, TABULAR], ids=lambda folder: folder.name)


def script(folder: Path, name: str) -> SimpleNamespace:
    """One of the template's scripts, run without leaving bytecode: `init` copies the folder."""
    return SimpleNamespace(**runpy.run_path(str(folder / f"{name}.py"), run_name=name))


def table(folder: Path, part: str) -> pa.Table:
    return pq.read_table(folder / "data" / f"{part}.parquet")


def rows(data: pa.Table, label: str) -> set[tuple[float, ...]]:
    """The features of each row: the same image with another label is the same image."""
    names = [name for name in data.column_names if name != label]
    return set(zip(*(data[name].to_pylist() for name in names), strict=True))


def features(folder: Path, part: str) -> tuple[np.ndarray, np.ndarray]:
    data = table(folder, part)
    columns = [data[n].to_numpy() for n in data.column_names if n != LABELS[folder]]
    return np.stack(columns, axis=1), data[LABELS[folder]].to_numpy()


@FOLDERS
def test_the_data_are_what_prepare_writes(folder: Path) -> None:
    made = script(folder, "prepare").split(seed=0)
    assert sorted(made) == sorted(path.stem for path in (folder / "data").iterdir())
    for part, expected in made.items():
        stored = table(folder, part)
        assert stored.schema.equals(expected.schema), part
        assert stored.equals(expected), part


@FOLDERS
def test_another_seed_makes_other_data(folder: Path) -> None:
    assert not script(folder, "prepare").split(seed=1)["train"].equals(table(folder, "train"))


@FOLDERS
def test_no_holdout_row_was_trained_on(folder: Path) -> None:
    holdout = rows(table(folder, "holdout"), LABELS[folder])
    for part in ("train", "reference"):
        assert not holdout & rows(table(folder, part), LABELS[folder]), part


def test_the_reference_of_digits_is_the_first_part_of_train() -> None:
    assert table(DIGITS, "reference").equals(table(DIGITS, "train").slice(0, 600))


def test_the_reference_of_tabular_shares_no_row_with_train() -> None:
    reference = rows(table(TABULAR, "reference"), LABELS[TABULAR])
    assert not reference & rows(table(TABULAR, "train"), LABELS[TABULAR])


@FOLDERS
def test_the_contract_names_each_column_and_its_type(folder: Path) -> None:
    contract = json.loads((folder / "contracts" / f"{MODELS[folder]}.v1.json").read_text())
    schema = table(folder, "train").schema
    assert {c["name"]: c["type"] for c in contract["columns"]} == {
        field.name: str(field.type) for field in schema
    }
    read = [c["name"] for c in contract["columns"] if c.get("read_by_model")]
    assert read == [name for name in schema.names if name != LABELS[folder]]
    assert all(c["required"] for c in contract["columns"])
    assert not any(field.nullable for field in schema)


@FOLDERS
def test_the_model_was_trained_on_this_file(folder: Path) -> None:
    model = onnx.load(folder / "models" / f"{MODELS[folder]}.onnx")
    train = (folder / "data" / "train.parquet").read_bytes()
    trained_on = {prop.key: prop.value for prop in model.metadata_props}["trained_on"]
    assert trained_on == f"sha256:{hashlib.sha256(train).hexdigest()}"


@FOLDERS
def test_the_model_is_whole_and_says_nothing_of_where_it_was_made(folder: Path) -> None:
    path = folder / "models" / f"{MODELS[folder]}.onnx"
    model = onnx.load(path, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert not any(node.doc_string or node.metadata_props for node in model.graph.node)
    assert model.doc_string == model.graph.doc_string == ""
    raw = path.read_bytes()
    assert not [trace for trace in (b".py", b"/home", b"/tmp") if trace in raw]
    assert [opset.version for opset in model.opset_import] == [17]
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "N"


@pytest.mark.parametrize(
    ("folder", "shape", "right"),
    [(DIGITS, (-1, 1, 8, 8), 0.99), (TABULAR, (-1, 30), 0.94)],
    ids=["digits", "tabular"],
)
def test_the_model_is_as_good_as_its_readme_says(
    folder: Path, shape: tuple[int, ...], right: float
) -> None:
    inputs, labels = features(folder, "holdout")
    session = onnxruntime.InferenceSession(
        folder / "models" / f"{MODELS[folder]}.onnx", providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name
    (logits,) = session.run(["logits"], {name: inputs.reshape(shape)})
    assert float((logits.argmax(axis=1) == labels).mean()) >= right
    (one,) = session.run(["logits"], {name: inputs[:1].reshape(shape)})
    assert np.allclose(one, logits[:1], atol=1e-5)


def test_the_tabular_model_is_what_train_writes() -> None:
    """Another processor may round otherwise, so the answers are compared and not the bytes."""
    train = script(TABULAR, "train")
    model = train.to_onnx(*train.train(*features(TABULAR, "train"), seed=0), trained_on="")
    inputs, _ = features(TABULAR, "holdout")
    answers = []
    for source in (model, (TABULAR / "models" / "tumours.onnx").read_bytes()):
        session = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
        answers.append(session.run(["logits"], {"features": inputs})[0].argmax(axis=1))
    assert float((answers[0] == answers[1]).mean()) >= 0.99


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of great_expectations' own imports
@FOLDERS
def test_the_promises_are_what_describe_writes(folder: Path) -> None:
    describe = script(folder, "describe")
    schema = table(folder, "train").schema
    columns = [name for name in schema.names if name != LABELS[folder]]
    name = MODELS[folder]
    assert describe.contract(schema) == (folder / f"contracts/{name}.v1.json").read_text()
    made = json.loads(describe.suite(describe.expectations(columns)))
    stored = json.loads((folder / f"expectations/{name}.json").read_text())
    for suite in (made, stored):
        del suite["meta"]["great_expectations_version"]
    assert made == stored


@FOLDERS
def test_a_template_is_small(folder: Path) -> None:
    shipped = [
        path
        for path in folder.rglob("*")
        if path.is_file() and not {".mlgate", "__pycache__"} & set(path.parts)
    ]
    assert sum(path.stat().st_size for path in shipped) < 1_000_000


def test_a_scikit_learn_model_is_gated_by_a_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sklearn"
    shutil.copytree(TEMPLATES / "sklearn", folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    done = subprocess.run(
        [sys.executable, "-m", "mlgate", "check", "--format", "json"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    (stage,) = json.loads(done.stdout)["stages"]
    assert {gate["outcome"] for gate in stage["gates"]} == {"pass"}


def test_the_scikit_learn_models_are_what_train_writes() -> None:
    train = script(TEMPLATES / "sklearn", "train")
    inputs, _ = train.read(TEMPLATES / "sklearn" / "data" / "holdout.parquet")
    for name, model in train.train(TEMPLATES / "sklearn" / "data").items():
        stored = joblib.load(TEMPLATES / "sklearn" / "models" / f"{name}.joblib")
        assert np.allclose(stored.predict_proba(inputs), model.predict_proba(inputs), atol=1e-6)


def test_the_data_of_both_tumour_templates_are_the_same() -> None:
    for path in (TABULAR / "data").iterdir():
        assert (TEMPLATES / "sklearn" / "data" / path.name).read_bytes() == path.read_bytes()
