"""Runs one command of the command line within the test process: the same output and exit status as `python -m app.cli`, but faster."""

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest import mock

import pytest

from app.cli import main
from app.settings import get_settings
from binnacle.cli import output
from binnacle.cli.terminal import WIDE

Cli = subprocess.CompletedProcess[str]


def run_here(arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path) -> Cli:
    """Runs the entry point with these arguments, environment and working directory, restores all three, and returns what it printed."""
    get_settings.cache_clear()
    printed, said, status = io.StringIO(), io.StringIO(), 0
    with (
        mock.patch.dict(os.environ, environment, clear=True), pytest.MonkeyPatch.context() as patch,
        redirect_stdout(printed), redirect_stderr(said),
    ):  # fmt: skip
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["binnacle", *arguments])
        for console in (output.out, output.err):  # these consoles took their width when they were made
            patch.setattr(console, "_width", WIDE)
        try:
            main()
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        finally:
            get_settings.cache_clear()
    return subprocess.CompletedProcess(arguments, status, printed.getvalue(), said.getvalue())
