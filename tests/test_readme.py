"""The code in the README runs, in the order in which a reader would paste it."""

import re
from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def test_the_python_blocks_run():
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 3
    names = {}
    for block in blocks:
        exec(compile(block, str(README), "exec"), names)
    assert names["logits"].shape == (64, 10)
    assert names["y"].shape == (64, 100)


def test_the_commands_name_files_that_exist():
    text = README.read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:jaxbn|experiments|tests)/[\w/.]*)`", text))
    assert len(named) >= 6
    for name in named:
        assert (README.parent / name).exists(), name
