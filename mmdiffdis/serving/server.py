"""The server: masks and cut-outs of images that other programs send."""

import asyncio
import math
import os
import shutil
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from inspect import getdoc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, TypeVar
from urllib.parse import quote

from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi_offline import FastAPIOffline
from PIL import ImageColor
from pydantic import ConfigDict, ValidationError, create_model
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect
from starlette.types import Message, Receive

from ..apis.decoding import IMAGE_ERRORS, reason
from ..apis.inference import PIXEL_BUDGET, DISInferencer
from ..apis.predicting import encode
from ..apis.results import Box
from ..images.options import BLUR, ResultOptions
from ..images.reading import is_out_of_memory
from ..utils.files import stem_of
from ..version import __version__
from .batching import Batcher
from .budget import PixelBudget
from .models import TooLargeError, check_image

Answer = TypeVar('Answer')
_MEDIA_TYPES = {'png': 'image/png', 'webp': 'image/webp', 'jpg': 'image/jpeg', 'tiff': 'image/tiff'}
_FILES = ('image', 'background')  # the files of a form
# The options of a result, whose type is that of the address, and of its prediction.
_Options = create_model(
    'Options',
    __config__=ConfigDict(extra='forbid', protected_namespaces=()),
    **{field.name: (field.type, field.default) for field in fields(ResultOptions)[1:]},
    box=(Box | None, None),
    model=(str | None, None),
    name=(str, 'image'),
)
_DESCRIPTION = f"""The image is the whole body, or the file `image` of a form. Options stand in the
query, or in the form, where the background may be a file as well. `model` is one of `/models`,
`name` the file name of an image that is the whole body (diffusion models draw their noise by it),
`box` left, top, right and bottom of the part that holds the subject. Numbers of `box` and `size`
are repeated options, as in `size=640&size=480`.

```
{getdoc(ResultOptions)}
```"""
_BINARY = {'schema': {'type': 'string', 'format': 'binary'}}
_BODY = {
    'required': True,
    'content': {
        'multipart/form-data': {
            'schema': {
                'type': 'object',
                'properties': dict.fromkeys(_FILES, _BINARY['schema']),
                'required': ['image'],
            }
        },
        'image/*': _BINARY,
    },
}
_RESPONSES = {
    200: {'description': 'The result', 'content': dict.fromkeys(_MEDIA_TYPES.values(), _BINARY)},
    400: {'description': 'An image or the form cannot be read'},
    408: {'description': 'The request did not arrive in time'},
    413: {'description': 'Too many bytes, or too many pixels'},
    422: {'description': 'An option is unknown, impossible or without effect'},
    429: {'description': 'Too many requests at once'},
    503: {'description': 'There was no result in time, or not enough memory'},
}


@dataclass(frozen=True)
class Limits:
    """Limits of the requests that the server accepts.

    Attributes:
        requests: Number of requests for results at once; further ones are answered with 429.
        upload: Bytes of a request.
        pixels: Pixels of an image and of a result.
        seconds: Time in which a request has to arrive, and then to be answered.
    """

    requests: int
    upload: int
    pixels: int
    seconds: float


@dataclass(frozen=True)
class _Upload:
    """A request that has arrived.

    Attributes:
        options: Its options, an `_Options`.
        name: Name of the image.
        image: File of the image.
        background: File of the background, or None if there is none.
    """

    options: Any
    name: str
    image: Path
    background: Path | None = None


def make_app(models: dict[str, DISInferencer], batch_size: int, limits: Limits) -> FastAPI:
    """Returns the server as an ASGI application.

    Args:
        models: Name -> model; the first is the default.
        batch_size: Largest number of images that a network takes at once.
        limits: What is accepted.
    """
    app = FastAPIOffline(
        title='mmdiffdis',
        version=__version__,
        description='Segmentation of the foreground object of an image.',
        redoc_url=None,
    )
    batcher, budget = Batcher(batch_size), PixelBudget(PIXEL_BUDGET)
    requests = 0

    @app.exception_handler(RequestValidationError)
    async def describe(request: Request, error: RequestValidationError) -> JSONResponse:
        parts = [f'{part["loc"][-1]}: {part["msg"]}' for part in error.errors()]
        return JSONResponse({'detail': '; '.join(parts)}, 422)  # a text, as of other errors

    @app.exception_handler(MemoryError)
    async def apologise(request: Request, error: MemoryError) -> JSONResponse:
        return JSONResponse({'detail': reason(error)}, 503)

    @app.get('/health')
    async def health() -> dict[str, Any]:
        """Returns how many requests for results are being answered, and how many may be."""
        return {'status': 'ok', 'requests': requests, 'limit': limits.requests}

    @app.get('/models')
    async def list_models() -> list[str]:
        """Returns the names of the models; the first is the default."""
        return list(models)

    async def predict(upload: _Upload, kind: str) -> Response:
        name = upload.options.model or next(iter(models))
        if name not in models:
            raise HTTPException(422, f"model '{name}': expected one of {', '.join(models)}")
        options = _result_options(kind, upload, limits.pixels)
        with _blame_the_client(upload.image.parent):
            files = [file for file in (upload.image, upload.background) if file]
            pixels = sum(check_image(file, limits.pixels) for file in files)
        async with budget.hold(pixels):
            with _blame_the_client(upload.image.parent):
                stem = stem_of(upload.name)
                prepared = await asyncio.to_thread(
                    models[name].prepare, upload.image, stem, 0, upload.options.box
                )
            result = await batcher.predict(models[name], prepared)
            with _blame_the_client(upload.image.parent):
                content = await asyncio.to_thread(encode, result, options)
        file_name = quote(f'{result.stem}.{options.format}')
        headers = {'Content-Disposition': f"inline; filename*=UTF-8''{file_name}"}
        return Response(content, headers=headers, media_type=_MEDIA_TYPES[options.format])

    def make_endpoint(kind: str) -> None:
        @app.post(
            f'/v1/{kind}',
            name=kind,
            description=_DESCRIPTION,
            response_class=Response,
            responses=_RESPONSES,
            openapi_extra={'requestBody': _BODY},
        )
        async def answer(request: Request, options: Annotated[_Options, Query()]) -> Response:
            nonlocal requests
            if requests >= limits.requests:
                raise _try_again(429, f'{requests} requests are being answered, the most at once')
            requests += 1
            try:
                with TemporaryDirectory(prefix='mmdiffdis-') as folder:
                    upload = _receive(request, options, Path(folder), limits.upload)
                    late = HTTPException(408, f'the request took more than {limits.seconds:g} s')
                    upload = await _within(limits.seconds, upload, late)
                    late = _try_again(503, f'there was no result after {limits.seconds:g} s')
                    return await _within(limits.seconds, predict(upload, kind), late)
            finally:
                requests -= 1

    for kind in ('mask', 'cutout'):
        make_endpoint(kind)
    return app


def _try_again(status: int, text: str) -> HTTPException:
    return HTTPException(status, f'{text}: try again', {'Retry-After': '1'})


async def _within(seconds: float, answer: Awaitable[Answer], late: HTTPException) -> Answer:
    try:
        return await asyncio.wait_for(answer, seconds)
    except asyncio.TimeoutError:
        raise late from None


async def _receive(request: Request, options: Any, folder: Path, limit: int) -> _Upload:
    """Stores the files of a request in a folder."""
    request = Request(request.scope, _count_bytes(request.receive, limit))
    try:
        if request.headers.get('content-type', '').startswith('multipart/form-data'):
            async with request.form(max_files=len(_FILES)) as form:
                return await asyncio.to_thread(_store, form, options, folder)
        with (folder / 'image').open('wb') as file:
            async for part in request.stream():
                file.write(part)
        return _Upload(options, options.name, folder / 'image')
    except ClientDisconnect:
        raise HTTPException(400, 'the client has gone') from None


def _count_bytes(receive: Receive, limit: int) -> Receive:
    """Returns `receive` with an error beyond the limit."""
    total = 0

    async def counted() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get('body', b''))
        if total > limit:
            raise HTTPException(413, f'the request has more than {limit} bytes')
        return message

    return counted


def _store(form: FormData, options: Any, folder: Path) -> _Upload:
    """Stores the files of a form in a folder; its other fields are options."""
    files: dict[str, list[UploadFile]] = {}
    texts: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        (files if isinstance(value, UploadFile) else texts).setdefault(name, []).append(value)
    if 'image' not in files or files.keys() - set(_FILES) or max(map(len, files.values())) > 1:
        raise HTTPException(
            422, f'files {[*files]} of the form: expected one image, and one background or none'
        )
    for name, (file,) in files.items():
        with (folder / name).open('wb') as target:
            shutil.copyfileobj(file.file, target)
    chosen = {
        name: values if name in ('size', 'box') or len(values) > 1 else values[0]
        for name, values in texts.items()
    }
    try:
        options = _Options.model_validate(options.model_dump(exclude_unset=True) | chosen)
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error
    background = folder / 'background' if 'background' in files else None
    return _Upload(options, files['image'][0].filename, folder / 'image', background)


def _result_options(kind: str, upload: _Upload, max_pixels: int) -> ResultOptions:
    """Returns the options of a result; a background is never a file of the server's."""
    chosen = upload.options.model_dump(exclude={'box', 'model', 'name'})
    text = chosen['background']
    if text not in (None, BLUR):
        try:
            ImageColor.getrgb(text)
        except ValueError as error:
            raise HTTPException(
                422,
                f"background '{text}': expected {BLUR}, an opaque colour (white, #ff8800, ...) or "
                'the file of an image in a form',
            ) from error
    if text and upload.background:
        raise HTTPException(422, f"background '{text}', and a file: expected one of them")
    if upload.background:
        chosen['background'] = str(upload.background)
    try:
        options = ResultOptions(kind, **chosen)
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
    if options.size and math.prod(options.size) > max_pixels:
        raise HTTPException(
            413, f'size {options.size}: expected at most {max_pixels / 1e6:g} million pixels'
        )
    return options


@contextmanager
def _blame_the_client(folder: Path) -> Iterator[None]:
    """Turns errors of images that were stored in a folder into answers without its name."""
    try:
        yield
    except IMAGE_ERRORS as error:
        if is_out_of_memory(error.__cause__ or error):
            raise MemoryError('out of memory') from error
        text = reason(error).replace(f'{folder}{os.sep}', '')
        raise HTTPException(413 if isinstance(error, TooLargeError) else 400, text) from error
