from __future__ import annotations

import pytest
from pydantic import ValidationError

from etude.language_model.recipe import Recipe


def test_the_rate_rises_to_its_highest_and_falls_to_a_tenth() -> None:
    recipe = Recipe(steps=1000, warmup_steps=9)
    rates = [recipe.rate(step) for step in range(1001)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[-1] == pytest.approx(0.1)
    assert rates[9:] == sorted(rates[9:], reverse=True)


@pytest.mark.parametrize(
    "settings", [{"steps": 0}, {"text_dropout": 1.5}, {"average": 1.0}, {"stesp": 3}, {"batch": 1.5}]
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Recipe(**settings)
