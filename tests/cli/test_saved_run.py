"""What an earlier version wrote into a run's config is read with today's names."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsdet.cli.build import as_yaml, build
from wsdet.cli.entry_point import compose
from wsdet.cli.saved_parts import saved_positives, saved_proposals
from wsdet.cli.saved_run import saved_config

NEW_AND_OLD = {
    "score_exponent": "trust",
    "n_occluded": "n_hidden",
    "occlusion_weight": "hiding",
    "voting_exponent": "sharpness",
    "low_confidence_below": "doubtful_below",
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run whose config has the old names."""
    overrides = [
        "data=synthetic",
        "localizer=vote",
        "localizer.score_exponent=0.7",
        "detector.low_confidence_below=0.4",
    ]
    text = as_yaml(compose("train", [*overrides, f"out={tmp_path}"]))
    for new, old in NEW_AND_OLD.items():
        assert f" {new}: " in text
        text = text.replace(f" {new}: ", f" {old}: ")
    (tmp_path / "config.yaml").write_text(text)
    return tmp_path


def test_a_run_of_an_earlier_version_is_read(run: Path) -> None:
    config = saved_config(run)
    assert config.localizer.score_exponent == 0.7
    assert build(config.localizer, "localizer").score_exponent == 0.7
    assert saved_positives(run).low_confidence_below == 0.4


def test_proposals_of_a_saved_detector_are_read() -> None:
    """As `model.json` has them: by a localizer that is inside them."""
    localizer = {"_target_": "wsdet.localizers.vote.Vote", "trust": 0.7}
    settings = {"_target_": "wsdet.proposals.files.Files", "name": "vote", "localizer": localizer}
    assert saved_proposals(settings, "model.json")["localizer"]["score_exponent"] == 0.7
