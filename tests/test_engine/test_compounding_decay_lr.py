"""The compounding decay, compared with the loop that defines it."""

import pytest
import torch
from mmseg.registry import PARAM_SCHEDULERS

from mmdiffdis.engine import CompoundingDecayLR


def optimizer(*rates: float) -> torch.optim.Optimizer:
    groups = [dict(params=[torch.nn.Parameter(torch.zeros(1))], lr=rate) for rate in rates]
    return torch.optim.SGD(groups)


def test_rate_follows_the_released_loop():
    sgd = optimizer(3e-5, 3e-4)
    schedule = PARAM_SCHEDULERS.build(
        dict(type='CompoundingDecayLR', optimizer=sgd, gamma=0.95, step_size=30)
    )
    expected = [3e-5, 3e-4]
    for epoch in range(90):
        assert [group['lr'] for group in sgd.param_groups] == pytest.approx(expected, rel=1e-9)
        expected = [rate * 0.95 ** (epoch // 30) for rate in expected]
        sgd.step()
        schedule.step()
    assert expected[0] == pytest.approx(3e-5 * 0.95 ** (30 + 2 * 30))


def test_resumed_schedule_continues():
    sgd = optimizer(1.0)
    schedule = CompoundingDecayLR(sgd, gamma=0.5, step_size=2)
    for _ in range(4):
        sgd.step()
        schedule.step()
    again_sgd = optimizer(1.0)
    again = CompoundingDecayLR(again_sgd, gamma=0.5, step_size=2)
    again.load_state_dict(schedule.state_dict())
    again_sgd.load_state_dict(sgd.state_dict())
    for resumable in (schedule, again):
        resumable.optimizer.step()
        resumable.step()
    assert again_sgd.param_groups[0]['lr'] == sgd.param_groups[0]['lr'] == 0.5**4


@pytest.mark.parametrize('settings', [dict(gamma=0, step_size=3), dict(gamma=0.9, step_size=0)])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match='expected 0 < gamma <= 1 and at least one epoch'):
        CompoundingDecayLR(optimizer(1.0), **settings)
