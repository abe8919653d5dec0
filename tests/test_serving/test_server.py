"""The server: answers, refusals, limits, many clients."""

import asyncio
import io
import threading

import numpy as np
import pytest
from PIL import Image

httpx = pytest.importorskip('httpx')
pytest.importorskip('fastapi_offline')

from mmdiffdis.apis import DISInferencer  # noqa: E402
from mmdiffdis.images.finishing import finish  # noqa: E402
from mmdiffdis.images.options import ResultOptions  # noqa: E402
from mmdiffdis.serving.budget import PixelBudget  # noqa: E402
from mmdiffdis.serving.server import Limits, make_app  # noqa: E402


@pytest.fixture
def model(stock_config, stock_checkpoint) -> DISInferencer:
    config = stock_config(2)
    return DISInferencer(config, stock_checkpoint(config), 'cpu')


def encode(image: np.ndarray, format: str = 'PNG') -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, format)
    return content.getvalue()


def decode(response: 'httpx.Response') -> Image.Image:
    assert response.status_code == 200, response.text
    return Image.open(io.BytesIO(response.content))


def difference(one: Image.Image, other: Image.Image) -> int:
    assert (one.mode, one.size) == (other.mode, other.size)
    return int(np.abs(np.array(one).astype(int) - np.array(other)).max())


def ask(model, *requests: tuple[str, dict], **limits) -> list['httpx.Response']:
    """Returns responses to requests at once; each is an address and options of httpx."""
    limits = {'requests': 64, 'upload': 10**6, 'pixels': 10**4, 'seconds': 60, **limits}
    app = make_app({'small': model, 'other': model}, 4, Limits(**limits))

    async def ask_all() -> list['httpx.Response']:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url='http://test') as client:
            tasks = [
                client.request('POST' if options else 'GET', url, **options)
                for url, options in requests
            ]
            return await asyncio.gather(*tasks)

    return asyncio.run(ask_all())


def test_results_are_those_of_finish(model, draw_pair):
    image = draw_pair(0)[0]
    mask, inside = model(image).mask, model(image, box=(10, 5, 40, 30)).mask
    form = {'files': {'image': ('a #1.png', encode(image))}}
    requests = [
        ('/v1/mask', form, {}, 'a%20%231.png'),
        ('/v1/mask', {'content': encode(image)}, {'threshold': 0.5, 'name': 'b.png'}, 'b.png'),
        ('/v1/cutout', form, {'format': 'webp', 'crop': 3}, 'a%20%231.webp'),
        ('/v1/cutout', form, {'size': (30, 20), 'background': '#ff8800'}, 'a%20%231.png'),
        ('/v1/cutout', form, {'background': 'blur', 'clean': True}, 'a%20%231.png'),
        ('/v1/mask', form, {'box': (10, 5, 40, 30)}, 'a%20%231.png'),
    ]
    asked = [(url, {**body, 'params': options}) for url, body, options, _ in requests]
    responses = ask(model, *asked)
    for (url, _, options, name), response in zip(requests, responses, strict=True):
        expected = finish(
            image,
            inside if 'box' in options else mask,
            ResultOptions(
                url.removeprefix('/v1/'),
                **{key: value for key, value in options.items() if key not in ('name', 'box')},
            ),
        )
        assert difference(decode(response), expected) <= 1
        assert response.headers['content-disposition'].endswith(f"''{name}")
        assert response.headers['content-type'] == f'image/{options.get("format", "png")}'


def test_options_and_a_background_come_with_a_form(model, draw_pair, tmp_path):
    image, ground = draw_pair(0)[0], draw_pair(1, 20, 30)[0]
    files = {'image': ('a.png', encode(image)), 'background': ('b.png', encode(ground))}
    data = {'size': ['30', '20'], 'model': 'other'}
    (response,) = ask(model, ('/v1/cutout', {'files': files, 'data': data}))
    (tmp_path / 'b.png').write_bytes(encode(ground))
    options = ResultOptions('cutout', size=(30, 20), background=str(tmp_path / 'b.png'))
    assert difference(decode(response), finish(image, model(image).mask, options)) <= 1


def test_describes_itself_without_other_servers(model):
    health, models, description, page = ask(
        model, ('/health', {}), ('/models', {}), ('/openapi.json', {}), ('/docs', {})
    )
    assert health.json() == {'status': 'ok', 'requests': 0, 'limit': 64}
    assert models.json() == ['small', 'other']
    operation = description.json()['paths']['/v1/cutout']['post']
    names = {parameter['name'] for parameter in operation['parameters']}
    assert {'format', 'background', 'crop', 'threshold', 'clean', 'size', 'model'} <= names
    assert 'multipart/form-data' in operation['requestBody']['content']
    assert 'swagger-ui' in page.text and 'https://' not in page.text


NOISE = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
GOOD = encode(np.zeros((20, 30, 3), np.uint8))
REFUSED = {
    'no image': (400, 'the file is empty', {'content': b''}),
    'an address': (400, 'no format that Pillow knows', {'content': b'http://host/a.png'}),
    'half an image': (400, "cannot read 'image'", {'content': encode(NOISE)[:-100]}),
    'a program': (400, 'EPS', {'content': encode(np.zeros((9, 9, 3), np.uint8), 'EPS')}),
    'a form without image': (422, 'expected one image', {'files': {'photo': GOOD}}),
    'two images': (422, 'expected one image', {'files': [('image', GOOD)] * 2}),
    'too many files': (400, 'Too many files', {'files': [('image', GOOD)] * 3}),
    'a broken form': (
        400, 'boundary', {'content': b'a', 'headers': {'content-type': 'multipart/form-data'}}
    ),
    'a broken background': (
        400, "cannot read 'background'", {'files': {'image': GOOD, 'background': b'a'}}
    ),
    'two backgrounds': (
        422, 'expected one of them',
        {'files': {'image': GOOD, 'background': GOOD}, 'data': {'background': 'red'}},
    ),
    'too many pixels': (
        413, 'has 200x100 pixels, more than 0.01 million',
        {'content': encode(np.zeros((100, 200, 3), np.uint8))},
    ),
    'too large a result': (413, 'size', {'content': GOOD, 'params': {'size': (9999, 9999)}}),
    'too many bytes': (413, '1000000 bytes', {'content': bytes(1_000_001)}),
    'an unknown option': (422, 'colour: Extra', {'content': GOOD, 'params': {'colour': 'red'}}),
    'an unknown option of a form': (
        422, 'colour: Extra', {'files': {'image': GOOD}, 'data': {'colour': 'red'}}
    ),
    'no number': (422, 'crop: Input should be', {'content': GOOD, 'params': {'crop': 'much'}}),
    'an impossible option': (422, 'expected a margin', {'content': GOOD, 'params': {'crop': -1}}),
    'an option without effect': (
        422, 'quality in png', {'content': GOOD, 'params': {'quality': 9}}
    ),
    'an unknown model': (
        422, 'expected one of small, other', {'content': GOOD, 'params': {'model': 'x'}}
    ),
    'a file of the server': (
        422, "background '/etc/hostname'",
        {'content': GOOD, 'params': {'background': '/etc/hostname'}},
    ),
}  # fmt: skip


def test_refuses_with_words(model):
    responses = ask(model, *(('/v1/cutout', request) for _, _, request in REFUSED.values()))
    for (case, (status, words, _)), response in zip(REFUSED.items(), responses, strict=True):
        assert response.status_code == status, case
        detail = response.json()['detail']
        assert words in detail, f'{case}: {detail}'
        assert 'mmdiffdis-' not in detail, 'names a temporary folder'


def test_many_clients_get_their_own_masks(model, draw_pair):
    images = [draw_pair(seed, 30 + seed % 7, 40 + seed)[0] for seed in range(64)]
    sizes = []
    predict = model.predict
    model.predict = lambda batch: sizes.append(len(batch)) or predict(batch)
    responses = ask(model, *(('/v1/mask', {'content': encode(image)}) for image in images))
    model.predict = predict
    assert sum(sizes) == 64 and max(sizes) == 4
    for image, response in zip(images, responses, strict=True):
        expected = finish(image, model(image).mask, ResultOptions('mask'))
        assert difference(decode(response), expected) <= 1


def test_further_requests_are_refused_at_once(model):
    refused = threading.Event()
    prepare = model.prepare
    model.prepare = lambda *inputs: refused.wait(30) and prepare(*inputs)
    app = make_app({'small': model}, 4, Limits(2, 10**6, 10**6, 60))

    async def ask_three() -> list['httpx.Response']:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url='http://test') as client:
            tasks = [asyncio.create_task(client.post('/v1/mask', content=GOOD)) for _ in range(2)]
            while (await client.get('/health')).json()['requests'] < 2:
                await asyncio.sleep(0.01)
            third = await client.post('/v1/mask', content=GOOD)
            refused.set()
            return [third, *await asyncio.gather(*tasks), await client.get('/health')]

    third, *answered, health = asyncio.run(ask_three())
    assert third.status_code == 429 and third.headers['retry-after'] == '1'
    assert third.json()['detail'] == '2 requests are being answered, the most at once: try again'
    assert [response.status_code for response in answered] == [200, 200]
    assert health.json()['requests'] == 0


def test_late_requests_and_results(model):
    async def slow_body():
        yield GOOD[:10]
        await asyncio.sleep(1)

    (response,) = ask(model, ('/v1/mask', {'content': slow_body()}), seconds=0.1)
    assert response.status_code == 408 and '0.1 s' in response.json()['detail']

    done = threading.Event()
    predict = model.predict
    model.predict = lambda batch: done.wait(1) and predict(batch)
    (response,) = ask(model, ('/v1/mask', {'content': GOOD}), seconds=0.1)
    done.set()
    assert response.status_code == 503 and 'try again' in response.json()['detail']


def test_one_failing_image_leaves_the_others_of_its_batch(model, draw_pair):
    """And a lack of memory is not the client's fault."""
    predict = model.predict

    def fail(batch: list) -> list:
        if any(image.stem == 'bad' for image in batch):
            raise MemoryError
        return predict(batch)

    model.predict = fail
    names = ['good', 'bad', 'fine']
    requests = [('/v1/mask', {'content': GOOD, 'params': {'name': name}}) for name in names]
    responses = ask(model, *requests)
    assert [response.status_code for response in responses] == [200, 503, 200]
    assert responses[1].json() == {'detail': 'out of memory'}


def test_a_large_image_waits_until_it_is_alone_and_is_not_overtaken():
    budget, order = PixelBudget(10), []

    async def hold(name: str, pixels: int) -> None:
        async with budget.hold(pixels):
            order.append(name)
            await asyncio.sleep(0.01)
            order.append(f'end of {name}')

    async def hold_all() -> None:
        await asyncio.gather(hold('small', 5), hold('large', 99), hold('last', 5))

    asyncio.run(hold_all())
    assert order == ['small', 'end of small', 'large', 'end of large', 'last', 'end of last']
