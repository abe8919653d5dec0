"""Names of precisions, and TF32 on NVIDIA GPUs."""

import threading

import numpy as np
import pytest
import torch

from mmdiffdis.apis import DISInferencer
from mmdiffdis.apis.precision import dtype_of, float32_products

HAS_NAMES = hasattr(torch.backends.cudnn, 'conv')  # torch 2.9 and later


def use_tf32() -> list[bool]:
    """Returns whether NVIDIA GPUs compute convolutions, and matrix products, with TF32."""
    if HAS_NAMES:
        kinds = torch.backends.cudnn.conv, torch.backends.cuda.matmul
        return [kind.fp32_precision == 'tf32' for kind in kinds]
    return [kind.allow_tf32 for kind in (torch.backends.cudnn, torch.backends.cuda.matmul)]


@pytest.mark.parametrize('tf32', [True, False])
def test_float32_products_are_set_within_the_block_only(tf32):
    assert use_tf32() == [True, False], "torch's default, for which the switch exists"
    with float32_products(tf32):
        assert use_tf32() == [tf32, tf32]
        with float32_products(not tf32):
            assert use_tf32() == [not tf32, not tf32]
        assert use_tf32() == [tf32, tf32]
    assert use_tf32() == [True, False]


def test_overlapping_blocks_of_threads_restore_what_was_before():
    first_is_in, second_is_in = threading.Event(), threading.Event()

    def first() -> None:
        with float32_products(False):
            first_is_in.set()
            assert second_is_in.wait(10)

    def second() -> None:
        with float32_products(False):
            second_is_in.set()
            thread.join()  # the first leaves before the second
            assert use_tf32() == [False, False]

    thread = threading.Thread(target=first)
    thread.start()
    assert first_is_in.wait(10)
    second()
    assert use_tf32() == [True, False]


def test_block_of_another_value_waits():
    seen = []

    def other() -> None:
        with float32_products(True):
            seen.append(use_tf32())

    thread = threading.Thread(target=other)
    with float32_products(False):
        thread.start()
        thread.join(0.2)
        assert thread.is_alive() and not seen and use_tf32() == [False, False]
    thread.join(10)
    assert seen == [[True, True]] and use_tf32() == [True, False]


def test_float32_products_after_an_error():
    with pytest.raises(RuntimeError, match='of the network'), float32_products(False):
        raise RuntimeError('of the network')
    assert use_tf32() == [True, False]


def test_float32_products_leave_both_ways_of_setting_them_usable():
    """Torch has two names for the setting, and refuses to read one after the other was set."""
    with float32_products(True):
        pass
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    assert before == (True, False)
    try:
        torch.backends.cuda.matmul.allow_tf32 = True
        with float32_products(False):
            assert use_tf32() == [False, False]
        assert torch.backends.cuda.matmul.allow_tf32 and use_tf32() == [True, True]
    finally:
        torch.backends.cuda.matmul.allow_tf32 = False


def test_unknown_precision_is_named():
    assert dtype_of('precision', 'float16') is torch.float16
    with pytest.raises(ValueError, match="encoder_precision='half': expected one of .*'float16'"):
        dtype_of('encoder_precision', 'half')


@pytest.mark.parametrize('tf32', [False, True])
def test_inferencer_sets_tf32(stock_config, stock_checkpoint, draw_pair, monkeypatch, tf32):
    """The setting concerns NVIDIA GPUs; on others masks do not change."""
    config, image = stock_config(2), draw_pair()[0]
    checkpoint = stock_checkpoint(config)
    expected = DISInferencer(config, checkpoint, device='cpu')(image).mask
    inferencer = DISInferencer(config, checkpoint, device='cpu', tf32=tf32)
    seen, predict = [], inferencer.model.predict

    def watched(*args):
        seen.append(use_tf32())
        return predict(*args)

    monkeypatch.setattr(inferencer.model, 'predict', watched)
    np.testing.assert_array_equal(inferencer(image).mask, expected)
    assert seen == [[tf32, tf32]] and use_tf32() == [True, False]
