"""tools/deployment/serve.py: a real process, asked over loopback."""

import io
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from helpers import serving
from PIL import Image

from mmdiffdis.apis import DISInferencer
from mmdiffdis.images.panels import to_grey

httpx = pytest.importorskip('httpx')
pytest.importorskip('fastapi_offline')
pytestmark = pytest.mark.slow


@pytest.fixture
def model(stock_config, stock_checkpoint) -> tuple[str, str]:
    config = stock_config(2)
    return str(config), str(stock_checkpoint(config))


def encode(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, 'PNG')
    return content.getvalue()


@pytest.fixture
def server(model, tmp_path) -> Iterator[tuple[subprocess.Popen, str]]:
    options = ['--requests', 64, '--upload', 2]
    with serving('deployment/serve.py', ':'.join(model), *options, log=tmp_path / 'log') as server:
        yield server


def test_64_clients_overflow_and_shutdown(server, model, draw_pair):
    process, address = server
    images = [draw_pair(seed, 40, 40 + seed)[0] for seed in range(64)]
    with ThreadPoolExecutor(64) as clients:
        responses = list(
            clients.map(
                lambda image: httpx.post(
                    f'{address}/v1/mask', files={'image': ('a.png', encode(image))}, timeout=300
                ),
                images,
            )
        )
    inferencer = DISInferencer(*model, 'cpu')
    for image, response in zip(images, responses, strict=True):
        assert response.status_code == 200, response.text
        mask = np.array(Image.open(io.BytesIO(response.content))).astype(int)
        assert mask.shape == image.shape[:2]
        assert np.abs(mask - to_grey(inferencer(image).mask)).max() <= 1

    # Of 300 clients at once, each gets its mask, or is asked to try again.
    noise = encode(np.random.default_rng(0).integers(0, 255, (500, 500, 3), np.uint8))
    with ThreadPoolExecutor(300) as clients:
        codes = list(
            clients.map(
                lambda _: httpx.post(f'{address}/v1/mask', content=noise, timeout=300).status_code,
                range(300),
            )
        )
    assert set(codes) == {200, 429} and codes.count(200) >= 64
    assert httpx.get(f'{address}/health').json()['requests'] == 0
    assert httpx.post(f'{address}/v1/mask', content=bytes(10**7)).status_code == 413

    # A request that is being answered is finished, then the process ends.
    with ThreadPoolExecutor(1) as client:
        answer = client.submit(httpx.post, f'{address}/v1/mask', content=noise, timeout=300)
        while not httpx.get(f'{address}/health').json()['requests'] and not answer.done():
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        assert answer.result().status_code == 200
    assert process.wait(60) == 0
