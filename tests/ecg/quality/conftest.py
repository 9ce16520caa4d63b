import sys
from pathlib import Path

# The demo is a folder of programs, not a package.
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "examples" / "demo"))
