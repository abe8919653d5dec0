"""The server: answers, refusals, limits, many clients."""

import asyncio
import io

import httpx
import numpy as np
import pytest
from PIL import Image

pytest.importorskip('fastapi')
pytest.importorskip('fastapi_offline')

from mmdiffdis.apis import DISInferencer  # noqa: E402
from mmdiffdis.images.panels import to_grey  # noqa: E402
from mmdiffdis.serving.server import Limits, make_app  # noqa: E402


@pytest.fixture
def model(stock_config, stock_checkpoint) -> DISInferencer:
    config = stock_config(2)
    return DISInferencer(config, stock_checkpoint(config), 'cpu')


def encode(image: np.ndarray, format: str = 'PNG') -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, format)
    return content.getvalue()


def decode(response: httpx.Response) -> np.ndarray:
    assert response.status_code == 200, response.text
    return np.array(Image.open(io.BytesIO(response.content)))


def ask(model, *requests, **limits) -> list[httpx.Response]:
    """Responses to requests (address, options of httpx) at once."""
    limits = {'requests': 64, 'upload': 10**6, 'pixels': 10**5, 'seconds': 60, **limits}
    app = make_app({'small': model, 'other': model}, 4, Limits(**limits))

    async def ask_all() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url='http://test') as client:
            return await asyncio.gather(*(client.post(url, **options) for url, options in requests))

    return asyncio.run(ask_all())


def test_mask_equals_predict(model, draw_pair):
    image = draw_pair(0)[0]
    form, raw = ask(
        model,
        ('/v1/mask', {'files': {'image': ('a #1.png', encode(image))}}),
        ('/v1/mask', {'content': encode(image), 'params': {'name': 'b.png'}}),
    )
    expected = to_grey(model(image).mask).astype(int)
    for response, name in ((form, 'a%20%231'), (raw, 'b')):
        assert np.abs(decode(response) - expected).max() <= 1
        assert response.headers['content-type'] == 'image/png'
        assert response.headers['content-disposition'].endswith(f"''{name}.png")
