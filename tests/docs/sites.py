# SPDX-License-Identifier: MIT
"""The two sites that models come from, on the loopback and with one model: Ollama's registry and Hugging Face."""
import hashlib
import http.server
import json
import re
import threading
import urllib.parse


def digest(content):
    return hashlib.sha256(content).hexdigest()


class Site(http.server.ThreadingHTTPServer):
    """Every name of the registry, and every repository, is the model in `content`."""

    daemon_threads = True

    def __init__(self, content):
        super().__init__(("127.0.0.1", 0), Handler)
        self.model, self.config = content, b'{"model_format":"gguf"}'
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def manifest(self):
        def layer(media_type, content):
            return {"mediaType": media_type, "digest": "sha256:" + digest(content), "size": len(content)}
        return {"schemaVersion": 2, "config": layer("application/vnd.docker.container.image.v1+json", self.config),
                "layers": [layer("application/vnd.ollama.image.model", self.model)]}

    def tree(self):
        return [{"type": "file", "oid": "x", "size": len(self.model), "path": f"model-{quant}.gguf",
                 "lfs": {"oid": digest(self.model), "size": len(self.model), "pointerSize": 135}}
                for quant in ("Q4_K_M", "Q8_0")]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        if re.fullmatch(r"/v2/.+/manifests/[^/]+", path):
            self.send(json.dumps(self.server.manifest()).encode())
        elif path.endswith(digest(self.server.config)):
            self.send(self.server.config)
        elif re.fullmatch(r"/v2/.+/blobs/[^/]+|/[^/]+/[^/]+/resolve/.+\.gguf", path):
            self.send(self.server.model)
        elif re.fullmatch(r"/api/models/[^/]+/[^/]+/tree/.+", path):
            self.send(json.dumps(self.server.tree()).encode())
        else:
            self.send_error(404)

    def send(self, body):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        first = int(wanted.group(1)) if wanted else 0
        last = min(int(wanted.group(2) or len(body)), len(body) - 1) if wanted else len(body) - 1
        self.send_response(206 if wanted else 200)
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
        self.send_header("ETag", f'"{digest(body)}"')
        self.send_header("Content-Length", str(last + 1 - first))
        self.end_headers()
        self.wfile.write(body[first:last + 1])

    def log_message(self, *_):
        pass
