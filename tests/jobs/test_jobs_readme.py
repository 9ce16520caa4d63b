import re
from pathlib import Path

import fairseq_ecg.jobs

README = Path(fairseq_ecg.jobs.__file__).with_name("README.md")


def test_the_loop_of_the_readme_runs(tmp_path, monkeypatch):
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    exec(compile(block, str(README), "exec"), names)
    assert names["texts"] == ["work on 0", "work on 1", "work on 2"]
    assert list(tmp_path.iterdir()) == []
