# SPDX-License-Identifier: MIT
"""Daemons whose engine fails or delays what a rule says: `--engine fault:ENGINE:RULES`."""

import os
from unittest import mock


def engine(rules):
    """A context: daemons that start in it have the engine that the tests are run with, and these faults."""
    name = os.environ.get("BLKD_ENGINE", "auto")
    return mock.patch.dict(os.environ, BLKD_ENGINE=f"fault:{name}:{rules}")
