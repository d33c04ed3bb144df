"""What is written is read back the same, and is the same bytes every time."""

from pathlib import Path

from mlgate.images.read import read
from mlgate.images.tree import merge
from mlgate.images.write import Item, Written, assemble, write_archive, write_layer, write_layout
from tests.images.made import layer, layout

BASE = layer(("a", None), ("a/x", "12345"), ("h", ("=", "a/x")), ("s", ("->", "a/x")), ("b", "1"))


def _written(folder: Path) -> Written:
    folder.mkdir()
    image = read(layout(folder / "in", BASE, User="7", Healthcheck={"Test": ["NONE"]}), folder)
    tree = merge(image)
    items = [Item(path, entry) for path, entry in tree.entries.items()]
    packed = write_layer(tree, items, folder / "all")
    return assemble(image.config, (packed,), ("mlgate slim",))


def test_two_writings_are_the_same_bytes(tmp_path: Path) -> None:
    one, other = _written(tmp_path / "1"), _written(tmp_path / "2")
    assert one.manifest == other.manifest
    assert one.config == other.config
    assert one.size_bytes == 6


def test_layout_and_archive_are_read_back(tmp_path: Path) -> None:
    written = _written(tmp_path / "1")
    write_layout(written, tmp_path / "out", "x:1")
    write_archive(written, tmp_path / "out.tar", "x:1")
    for location in (tmp_path / "out", tmp_path / "out.tar"):
        image = read(location, tmp_path, tag="x:1")
        assert image.config_digest == written.config_digest
        assert image.config["config"] == {"User": "7", "Healthcheck": {"Test": ["NONE"]}}
        tree = merge(image)
        assert tree.read("/h") == tree.read("/s") == b"12345"
        assert tree.wasted == 0
