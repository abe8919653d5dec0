"""The progress bar: steps, loss and score."""

from types import SimpleNamespace

from mmdiffdis.engine import ProgressBarHook


def test_bar_shows_steps_loss_and_score(capsys):
    hook = ProgressBarHook()
    hook.before_train(SimpleNamespace(max_iters=4, iter=2))
    hook.after_train_iter(None, 0, outputs=dict(loss=1.25))
    hook.after_val_epoch(None, dict(maxF=0.5))
    hook.after_train_iter(None, 1, outputs=dict(loss=0.75))
    hook.after_train(None)
    last = capsys.readouterr().err.splitlines()[-1]
    assert '4/4' in last and 'loss=0.750' in last and 'maxF=0.500' in last


def test_validation_without_the_metric_changes_nothing(capsys):
    hook = ProgressBarHook(measure='S')
    hook.before_train(SimpleNamespace(max_iters=1, iter=0))
    hook.after_val_epoch(None, dict(maxF=0.5))
    hook.after_train_iter(None, 0, outputs=dict(loss=1.0))
    hook.after_train(None)
    assert 'S=' not in capsys.readouterr().err
