"""Lines of words, upright and upside down: python rendered_lines.py FILE.npz

Runs in an environment of its own that has Pillow. `x` is [n, 3, 48, 192], as RapidOCR scales them.
"""

import sys
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

RNG = np.random.default_rng(0)
LETTERS = np.array(list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"))


def line() -> Any:
    """One line, dark on light or light on dark, a little tilted, blurred by noise."""
    paper, ink = int(RNG.integers(170, 255)), int(RNG.integers(0, 90))
    if RNG.random() < 0.3:
        paper, ink = ink, paper
    words = ["".join(RNG.choice(LETTERS, RNG.integers(3, 8))) for _ in range(RNG.integers(1, 4))]
    font = ImageFont.load_default(size=int(RNG.integers(22, 36)))
    picture = Image.new("L", (192, 48), paper)
    place = (int(RNG.integers(2, 10)), int(RNG.integers(0, 8)))
    ImageDraw.Draw(picture).text(place, " ".join(words), fill=ink, font=font)
    picture = picture.rotate(float(RNG.uniform(-2, 2)), fillcolor=paper)
    if RNG.random() < 0.5:
        picture = picture.rotate(180)
    grey = np.asarray(picture, np.float32) + RNG.normal(0, 6, (48, 192)).astype(np.float32)
    return np.repeat(((grey / 255 - 0.5) / 0.5)[None], 3, axis=0)


np.savez(sys.argv[1], x=np.stack([line() for _ in range(int(sys.argv[2]))]).astype(np.float32))
