"""Keep rules: each was a breakage."""

from pathlib import Path

from mlgate.images.read import read
from mlgate.images.tree import Tree, merge
from mlgate.stages.slim.keep import Kept, choose
from mlgate.stages.slim.packages import packages_of
from mlgate.stages.slim.probe import first_imports
from mlgate.stages.slim.spec import Level
from tests.images.made import Member, archive, layer

_SITE = "usr/lib/python3/dist-packages"
FILES: list[Member] = [
    ("bin", ("->", "usr/bin")), ("usr", None), ("usr/bin", None),
    ("usr/bin/dash", "dash"), ("usr/bin/sh", ("->", "dash")), ("etc/machine-id", "0"),
    ("usr/bin/python3.11", "python"), ("usr/bin/python3", ("->", "python3.11")),
    (f"{_SITE}/onnxruntime/capi/lib.so", "x"), (f"{_SITE}/onnxruntime/__init__.py", "x"),
    (f"{_SITE}/onnxruntime/__pycache__/__init__.cpython-311.pyc", "x"),
    (f"{_SITE}/onnxruntime-1.29.0.dist-info/METADATA", "Name: onnxruntime\nVersion: 1.29.0\n\n"),
    (f"{_SITE}/onnxruntime-1.29.0.dist-info/RECORD",
     "onnxruntime/__init__.py,,\nonnxruntime/capi/lib.so,,\nonnxruntime/gone.py,,\n"),
    (f"{_SITE}/pandas/__init__.py", "x"),
    (f"{_SITE}/pandas-2.0.dist-info/METADATA", "Name: pandas\nVersion: 2.0\n\n"),
    (f"{_SITE}/pandas-2.0.dist-info/RECORD", "pandas/__init__.py,,\n"),
    (f"{_SITE}/ns-nspkg.pth", "import ns"),
    ("srv/app.py", "import os\ndef late():\n    import pandas\n    from a.b import c\n"),
]  # fmt: skip


def _tree(folder: Path) -> Tree:
    return merge(read(archive(folder / "x.tar", layer(*FILES)), folder))


def _chosen(tree: Tree, *used: str, level: Level = "file", drop: tuple[str, ...] = ()) -> Kept:
    return choose(tree, {"config": {}}, packages_of(tree), set(used), level, drop=drop)


def test_s1_onnxruntime_keeps_a_shell_and_the_machine_id(tmp_path: Path) -> None:
    kept = _chosen(_tree(tmp_path), f"/{_SITE}/onnxruntime/capi/lib.so")
    assert kept.why["/usr/bin/dash"] == "onnxruntime needs it"
    assert kept.why["/etc/machine-id"] == "onnxruntime needs it"
    assert "/usr/bin/sh" in kept.why
    assert "/usr/bin/dash" not in _chosen(_tree(tmp_path), f"/{_SITE}/pandas/__init__.py").why


def test_s3_metadata_and_pth_of_kept_packages_stay(tmp_path: Path) -> None:
    kept = _chosen(_tree(tmp_path), f"/{_SITE}/onnxruntime/__init__.py")
    assert f"/{_SITE}/onnxruntime-1.29.0.dist-info/METADATA" in kept.why
    assert f"/{_SITE}/ns-nspkg.pth" in kept.why


def test_a_scan_of_all_metadata_uses_no_package(tmp_path: Path) -> None:
    scanned = f"/{_SITE}/pandas-2.0.dist-info/METADATA"
    assert scanned not in _chosen(_tree(tmp_path), scanned).why


def test_links_that_lead_to_what_is_kept_stay(tmp_path: Path) -> None:
    kept = _chosen(_tree(tmp_path), "/usr/bin/python3.11")
    assert {"/usr/bin/python3", "/bin"} <= kept.paths


def test_a_source_stays_with_its_compiled_module_and_the_other_way(tmp_path: Path) -> None:
    source = f"/{_SITE}/onnxruntime/__init__.py"
    compiled = f"/{_SITE}/onnxruntime/__pycache__/__init__.cpython-311.pyc"
    assert compiled in _chosen(_tree(tmp_path), source).why
    assert source in _chosen(_tree(tmp_path), compiled).why


def test_a_package_is_widened_to_its_files(tmp_path: Path) -> None:
    used = f"/{_SITE}/onnxruntime/__init__.py"
    assert f"/{_SITE}/onnxruntime/capi/lib.so" not in _chosen(_tree(tmp_path), used).why
    assert (
        f"/{_SITE}/onnxruntime/capi/lib.so" in _chosen(_tree(tmp_path), used, level="package").why
    )


def test_what_is_dropped_goes_whatever_needs_it(tmp_path: Path) -> None:
    kept = _chosen(_tree(tmp_path), "/srv/app.py", drop=("/srv/*",))
    assert "/srv/app.py" in kept.gone


def test_imports_inside_of_functions_are_found(tmp_path: Path) -> None:
    assert first_imports(_tree(tmp_path), ("/srv",)) == ("a.b", "a.b.c", "os", "pandas")
