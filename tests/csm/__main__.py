"""Starts it: `python tests/csm`, or `python -m csm` in the folder tests."""

import os
import sys

# Run as a folder, this one is in the path where the one above is needed.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from csm.cli import main  # noqa: E402

main()
