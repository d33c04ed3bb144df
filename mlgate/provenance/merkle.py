"""Merkle trees of append-only logs, as RFC 6962 has them: roots and proofs, pure."""

import hashlib
from collections.abc import Sequence


def leaf(data: bytes) -> bytes:
    """Hash of an entry."""
    return hashlib.sha256(b"\0" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\1" + left + right).digest()


class Frontier:
    """The roots of the full subtrees of a growing tree: an append costs O(log n) at most."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[tuple[int, bytes]] = []  # (height, hash), from the left

    def append(self, hashed: bytes) -> None:
        """Add a leaf's hash."""
        height = 0
        while self._peaks and self._peaks[-1][0] == height:
            hashed = _node(self._peaks.pop()[1], hashed)
            height += 1
        self._peaks.append((height, hashed))
        self.size += 1

    def root(self) -> bytes:
        """The tree's root hash; of no leaves, the hash of nothing."""
        if not self._peaks:
            return hashlib.sha256(b"").digest()
        found = self._peaks[-1][1]
        for _, peak in reversed(self._peaks[:-1]):
            found = _node(peak, found)
        return found


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over the hashes of leaves."""
    frontier = Frontier()
    for hashed in leaves:
        frontier.append(hashed)
    return frontier.root()


def _split(count: int) -> int:
    """The largest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)


def inclusion(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """The proof that leaf `index` is in the tree (RFC 6962, 2.1.1)."""
    if len(leaves) == 1:
        return []
    half = _split(len(leaves))
    if index < half:
        return [*inclusion(index, leaves[:half]), root(leaves[half:])]
    return [*inclusion(index - half, leaves[half:]), root(leaves[:half])]


def included(index: int, size: int, hashed: bytes, proof: Sequence[bytes]) -> bytes | None:
    """The root that a proof of inclusion gives; None where it cannot be one (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return None
    first, last, found = index, size - 1, hashed
    for step in proof:
        if last == 0:
            return None
        if first & 1 or first == last:
            found = _node(step, found)
            while not first & 1 and first:
                first >>= 1
                last >>= 1
        else:
            found = _node(found, step)
        first >>= 1
        last >>= 1
    return found if last == 0 else None


def consistency(earlier: int, leaves: Sequence[bytes]) -> list[bytes]:
    """The proof that the tree of the first `earlier` leaves is a part of it (RFC 6962, 2.1.2)."""
    return _consistency(earlier, leaves, whole=True)


def _consistency(earlier: int, leaves: Sequence[bytes], *, whole: bool) -> list[bytes]:
    if earlier == len(leaves):
        return [] if whole else [root(leaves)]
    half = _split(len(leaves))
    if earlier <= half:
        return [*_consistency(earlier, leaves[:half], whole=whole), root(leaves[half:])]
    rest = _consistency(earlier - half, leaves[half:], whole=False)
    return [*rest, root(leaves[:half])]


def consistent(sizes: tuple[int, int], roots: tuple[bytes, bytes], proof: Sequence[bytes]) -> bool:
    """Whether a proof of consistency holds for two sizes and roots (RFC 9162, 2.1.4.2)."""
    earlier, later = sizes
    if earlier == later:
        return roots[0] == roots[1] and not proof
    if not 0 < earlier < later:
        return False
    steps = list(proof)
    if earlier & (earlier - 1) == 0:
        steps.insert(0, roots[0])
    if not steps:
        return False
    first, last = earlier - 1, later - 1
    while first & 1:
        first >>= 1
        last >>= 1
    old = new = steps[0]
    for step in steps[1:]:
        if last == 0:
            return False
        if first & 1 or first == last:
            old, new = _node(step, old), _node(step, new)
            while not first & 1 and first:
                first >>= 1
                last >>= 1
        else:
            new = _node(new, step)
        first >>= 1
        last >>= 1
    return last == 0 and (old, new) == roots
