"""Layer accounting is exact: every case by hand, and the law over made-up layers."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlgate.errors import StageError
from mlgate.images.read import read
from mlgate.images.tree import Tree, merge, waste_by_cause
from tests.images.made import Member, archive, layer, layout


def _tree(folder: Path, *layers: bytes) -> Tree:
    return merge(read(archive(folder / "image.tar", *layers), folder))


_BASE = layer(("a", None), ("a/x", "12345"), ("a/y", "123"), ("b", "1"), ("h", ("=", "a/x")))


@pytest.mark.parametrize(
    ("above", "wasted", "left"),
    [
        ([("b", "12")], 1, {"/a/x", "/a/y", "/b", "/h"}),
        ([(".wh.b", "")], 1, {"/a/x", "/a/y", "/h"}),
        ([("a/.wh.y", "")], 3, {"/a/x", "/b", "/h"}),
        ([(".wh.a", "")], 3, {"/b", "/h"}),  # the hard link still shows the 5 bytes of a/x
        ([(".wh.a", ""), (".wh.h", "")], 8, {"/b"}),
        ([("a/.wh..wh..opq", ""), ("a/z", "1")], 3, {"/a/z", "/b", "/h"}),
        ([(".wh.nothing", "")], 0, {"/a/x", "/a/y", "/b", "/h"}),  # dangling
        ([("a", "file")], 3, {"/a", "/b", "/h"}),
        ([("c", "1"), ("c", "22")], 1, {"/a/x", "/a/y", "/b", "/c", "/h"}),
    ],
    ids=["overwrite", "delete", "delete-one", "delete-folder", "delete-links", "opaque",
         "dangling", "file-over-folder", "twice-in-one"],
)  # fmt: skip
def test_wasted_bytes_are_exact(
    tmp_path: Path, above: list[Member], wasted: int, left: set[str]
) -> None:
    tree = _tree(tmp_path, _BASE, layer(*above))
    assert tree.wasted == wasted
    assert {entry.path for entry in tree.files()} == left
    assert tree.visible + tree.wasted == tree.total


def test_a_deleted_folder_and_a_chmod_have_their_instructions(tmp_path: Path) -> None:
    wheels = layer(("w", None), ("w/one", b"x" * 5000), ("keep", b"y" * 3000))
    tree = _tree(tmp_path, wheels, layer((".wh.w", "")), layer(("keep", b"y" * 3000)))
    assert waste_by_cause(tree) == [(5000, "deleted", 0, 1), (3000, "overwritten", 0, 2)]
    assert tree.efficiency == 3000 / 11000
    assert tree.layers[1].instruction == "RUN step 1"


@given(
    st.lists(
        st.lists(
            st.tuples(
                st.sampled_from(["a", "b", "d/a", "d/e/b", ".wh.a", ".wh.d", "d/.wh.e",
                                 "d/.wh..wh..opq"]),
                st.text("x", max_size=5),
            ),
            max_size=5,
        ),
        min_size=1,
        max_size=4,
    )
)  # fmt: skip
def test_no_byte_is_lost_or_counted_twice(layers: list[list[tuple[str, str]]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        tree = _tree(Path(folder), *(layer(*members) for members in layers))
        written = sum(
            len(t) for ms in layers for n, t in ms if not n.split("/")[-1].startswith(".wh.")
        )
        assert tree.total == written == tree.visible + tree.wasted


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/../out"])
def test_a_path_that_escapes_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(StageError, match="escapes"):
        _tree(tmp_path, layer((name, "x")))


@pytest.mark.parametrize("target", ["../../etc/passwd", "/etc/shadow"])
def test_a_hard_link_out_of_the_image_is_refused(tmp_path: Path, target: str) -> None:
    with pytest.raises(StageError, match=r"escapes|not there"):
        _tree(tmp_path, layer(("x", ("=", target))))


def test_links_are_followed_within_the_image(tmp_path: Path) -> None:
    tree = _tree(
        tmp_path,
        layer(
            ("usr", None), ("usr/lib", None), ("usr/lib/c", "1"), ("lib", ("->", "usr/lib")),
            ("up", ("->", "../../../usr/lib/c")), ("round", ("->", "round")),
        ),
    )  # fmt: skip
    assert tree.walk("/lib/c") == ("/usr/lib/c", ("/lib",))
    assert tree.resolve("/up") == "/usr/lib/c"
    assert tree.resolve("/round") is None
    assert tree.read("/up") == b"1"


@pytest.mark.parametrize("packing", ["gzip", "zstd", "plain"])
def test_every_packing_gives_the_same_tree(tmp_path: Path, packing: str) -> None:
    image = read(layout(tmp_path / "oci", _BASE, packing=packing), tmp_path)
    assert [layer.packing for layer in image.layers] == [packing]
    assert set(merge(image).entries) == {"/a", "/a/x", "/a/y", "/b", "/h"}
