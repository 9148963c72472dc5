"""The code in the README runs, in the order in which a reader would paste it."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from tests.tolerances import assert_close

README = Path(__file__).parents[1] / "README.md"


def test_the_python_blocks_run():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 3
    names = {}
    for block in blocks:
        if "from torch" in block and not importlib.util.find_spec("torch"):
            continue
        exec(compile(block, str(README), "exec"), names)
    assert names["logits"].shape == (64, 10)
    assert names["hidden"].shape == (64, 100)
    assert names["y"].shape == (64, 100)
    if "theirs" in names:
        images = np.random.default_rng(0).normal(size=(2, 1, 9, 9)).astype("float32")
        expected = names["theirs"](pytest.importorskip("torch").from_numpy(images)).detach().numpy()
        found = names["ours"].apply(names["variables"], images.transpose(0, 2, 3, 1))
        assert_close(found.transpose(0, 3, 1, 2), expected, 1e-6)


def test_the_commands_name_files_that_exist():
    text = README.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:jaxbn|experiments|tests)/[\w/.]*)`", text))
    assert len(named) >= 6
    for name in named:
        assert (README.parent / name).exists(), name
