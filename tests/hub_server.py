"""A small server that speaks the part of the hub's protocol that loading and publishing need."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlparse

COMMIT = 'c' * 40


class Hub(BaseHTTPRequestHandler):
    """Keeps repositories, name -> files, in `repositories` of its server, and notes downloads."""

    protocol_version = 'HTTP/1.1'

    def log_message(self, *_):
        pass

    def _answer(self, body: bytes = b'', status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {'Content-Length': str(len(body)), **headers}.items():
            self.send_header(name.replace('_', '-'), value)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)

    def _answer_json(self, content) -> None:
        self._answer(json.dumps(content).encode(), Content_Type='application/json')

    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length'])).decode()
        repositories, path = self.server.repositories, urlparse(self.path).path
        if path == '/api/repos/create':
            asked = json.loads(body)
            name = '/'.join(filter(None, (asked.get('organization'), asked['name'])))
            repositories.setdefault(name, {})
            self._answer_json({'url': f'{self.server.url}/{name}', 'id': name})
            return
        if path == '/api/validate-yaml':  # of a model card
            self._answer_json({'errors': [], 'warnings': []})
            return
        _, _, _, owner, repository, action, *_ = path.split('/')
        name = f'{owner}/{repository}'
        if action == 'preupload':
            modes = {'uploadMode': 'regular', 'shouldIgnore': False}
            files = [{'path': file['path'], **modes} for file in json.loads(body)['files']]
            self._answer_json({'files': files})
        else:  # commit
            for line in map(json.loads, body.splitlines()):
                if line['key'] == 'file':
                    value = line['value']
                    repositories[name][value['path']] = base64.b64decode(value['content'])
            url = f'{self.server.url}/{name}/commit/{COMMIT}'
            self._answer_json({'commitUrl': url, 'commitOid': COMMIT})

    def do_GET(self):
        parts = urlparse(self.path).path.strip('/').split('/')
        name = '/'.join(parts[2:4] if parts[0] == 'api' else parts[:2])
        files = self.server.repositories.get(name)
        if files is None:
            self._answer(status=404, X_Error_Code='RepoNotFound')
        elif 'tree' in parts:
            listed = ((path, content, _hash(content)) for path, content in files.items())
            self._answer_json(
                [{'type': 'file', 'path': p, 'size': len(c), 'oid': h} for p, c, h in listed]
            )
        elif parts[0] == 'api':
            siblings = [{'rfilename': path} for path in files]
            self._answer_json({'id': name, 'sha': COMMIT, 'siblings': siblings})
        else:  # owner, name, 'resolve', commit, file
            content = files['/'.join(parts[4:])]
            if self.command == 'GET':
                self.server.downloads.append(parts[-1])
            self._answer(content, ETag=f'"{_hash(content)}"', X_Repo_Commit=COMMIT)

    do_HEAD = do_GET


def _hash(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()


@contextmanager
def serve_hub() -> Iterator[ThreadingHTTPServer]:
    """Yields a server with `url`, `repositories` and `downloads`."""
    with ThreadingHTTPServer(('127.0.0.1', 0), Hub) as server:
        server.url = f'http://127.0.0.1:{server.server_port}'
        server.repositories, server.downloads = {}, []
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()
