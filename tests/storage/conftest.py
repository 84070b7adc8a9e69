"""What several tests of stores compare with."""

from __future__ import annotations

import pytest

from tests.storage.stores import content, fill


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a store that one run filled."""
    folder = tmp_path_factory.mktemp("store")
    fill(folder)
    return content(folder)
