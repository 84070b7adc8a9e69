"""Time of a step: a slow loader counts as waiting, a slow step as computing."""

import time

from wsdet.training.step_times import StepTimes


def test_waiting_and_computing_are_told_apart() -> None:
    times = StepTimes()
    assert times.measured() == {}
    times.on_train_epoch_start(None, None)  # type: ignore[arg-type]
    for waiting, computing in ((0.02, 0.01), (0.02, 0.01), (0.02, 0.07)):
        time.sleep(waiting)
        times.on_train_batch_start(None, None, None, 0)  # type: ignore[arg-type]
        time.sleep(computing)
        times.on_train_batch_end(None)  # type: ignore[arg-type]
    measured = times.measured()
    assert measured["steps"] == 3
    assert measured["waiting_for_data"] >= 0.02
    assert measured["computing"] >= 0.03
    assert 0.01 <= measured["computing_median"] < measured["computing"]
