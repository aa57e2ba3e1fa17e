import numpy as np
import pytest

from loom_models.rhythm import LEAST_SAMPLES, Floats, rhythm

SECONDS: Floats = np.arange(250) / 50


def one(seconds: Floats, values: Floats) -> tuple[float, float]:
    hertz, share = rhythm(seconds, values, np.array([len(values)]))
    return float(hertz[0]), float(share[0])


@pytest.mark.parametrize("hertz", [1.2, 1.8, 3.2])
def test_steps_are_all_rhythm(hertz: float) -> None:
    found, share = one(SECONDS, 9.8 + 3 * np.sin(2 * np.pi * hertz * SECONDS + 0.7))
    assert found == hertz
    assert share == pytest.approx(1.0, abs=1e-6)


def test_noise_has_no_rhythm() -> None:
    assert one(SECONDS, np.random.default_rng(1).normal(9.8, 2.0, 250))[1] < 0.06


def test_half_of_the_motion_is_steps() -> None:
    steps = np.sin(2 * np.pi * 1.8 * SECONDS)
    assert one(SECONDS, steps + np.random.default_rng(2).normal(0, np.sqrt(0.5), 250))[1] == pytest.approx(
        0.5, abs=0.08
    )


def test_samples_need_not_be_evenly_spaced() -> None:
    seconds = np.sort(np.random.default_rng(3).uniform(0, 5, 60))
    found, share = one(seconds, np.sin(2 * np.pi * 2.0 * seconds))
    assert found == 2.0
    assert share > 0.85


def test_too_few_samples_and_no_motion_have_none() -> None:
    few = SECONDS[: LEAST_SAMPLES - 1]
    assert np.isnan(one(few, np.sin(few))).all()
    assert np.isnan(one(SECONDS, np.full(250, 9.8))).all()
    assert all(len(part) == 0 for part in rhythm(np.empty(0), np.empty(0), np.empty(0, np.int64)))


def test_groups_do_not_see_each_other() -> None:
    generator = np.random.default_rng(4)
    parts = [(generator.uniform(0, 5, n), generator.normal(9.8, 1.0, n)) for n in (40, 7, 250)]
    hertz, share = rhythm(
        np.concatenate([s for s, _ in parts]), np.concatenate([v for _, v in parts]), np.array([40, 7, 250])
    )
    alone = [one(s, v) for s, v in parts]
    np.testing.assert_array_equal(list(zip(hertz, share, strict=True)), alone)
