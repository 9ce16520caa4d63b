"""``python -m fairseq_ecg.cli``."""

import sys

from fairseq_ecg.cli import main

sys.exit(main())
