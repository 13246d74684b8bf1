"""Where Better Auth cannot run, the tests say so."""

from pathlib import Path

import pytest

from tests.better_auth.conftest import refuse
from tests.better_auth.harness import available


def test_a_missing_node_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Node.js the reason says that."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert available() == "Node.js is not on the PATH."


def test_an_old_node_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where Node.js is older than Better Auth takes, the reason has both versions."""
    node = tmp_path / "node"
    node.write_text("#!/bin/sh\necho v18.20.4\n")
    node.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert available() == "Node.js v18.20.4 is too old: Better Auth needs 20 or newer."


def test_a_skip_is_a_failure_on_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a developer may skip, CI must not."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no node"):
        refuse("no node")
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no node"):
        refuse("no node")
