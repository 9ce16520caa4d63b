import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, environment


@pytest.fixture(scope="session")
def run_kernel_tests():
    """Run the tests of the backend cpu, of every operation, in another process.

    Arguments are the folder of a checkout and environment variables. What is skipped is an error.
    """

    def run(folder: Path, variables: dict[str, str]) -> subprocess.CompletedProcess:
        files = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("tests/ops/test_*.py"))
        assert files
        # Captured words would be lost where a sanitizer ends the process.
        options = ["-q", "-rs", "-k", "cpu", "--capture=no", "-p", "no:cacheprovider"]
        process = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *files],
            cwd=folder,
            env=environment() | {"PYTHONPATH": str(folder)} | variables,
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, process.stdout[-8000:] + process.stderr[:8000]
        assert " passed" in process.stdout
        assert " skipped" not in process.stdout, process.stdout
        return process

    return run
