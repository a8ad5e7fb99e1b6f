"""A real registry for the commands to talk to: Debian's docker-registry, with
its storage in memory, so that no disk drowns what is measured."""

import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from urllib.parse import urlsplit

CONFIG = """\
version: 0.1
log:
  level: error
storage:
  filesystem:
    rootdirectory: {root}
  delete:
    enabled: true
http:
  addr: 127.0.0.1:{port}
  secret: bench
"""
TLS = """\
  tls:
    certificate: {certificate}
    key: {key}
"""


class Registry:
    """A running docker-registry in `folder`, whose storage is in `root`; it speaks
    https with the files of a certificate and its key."""

    # Another program that takes the same words, such as distribution's of today.
    program = "docker-registry"

    def __init__(self, folder, root=None, tls=None):
        if not shutil.which(self.program):
            raise SystemExit(f"{self.program} is not installed; scripts/setup installs docker-registry")
        self.root = root or os.path.join(folder, "storage")
        self.certificate = tls and tls[0]
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        config = os.path.join(folder, "config.yml")
        with open(config, "w") as file:
            file.write(CONFIG.format(root=self.root, port=self.port))
            if tls:
                file.write(TLS.format(certificate=tls[0], key=tls[1]))
        # Its access log goes to standard output, a line a request.
        self.log_path = os.path.join(folder, "access.log")
        self.log = open(self.log_path, "wb")
        self.process = subprocess.Popen(
            [self.program, "serve", config], stdin=subprocess.DEVNULL, stdout=self.log,
            stderr=subprocess.DEVNULL, env={"PATH": os.environ.get("PATH", os.defpath)}, start_new_session=True,
        )
        self.counted = 0
        self.wait()

    def wait(self):
        for _ in range(200):
            if self.process.poll() is not None:
                raise SystemExit("docker-registry ended by itself")
            try:
                # What it says to one who speaks the other protocol is enough.
                return self.ask("GET", "/v2/").read()
            except OSError:
                time.sleep(0.05)
        raise SystemExit("docker-registry does not answer")

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def ask(self, method, path, body=None, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request(method, path, body, headers or {})
        return connection.getresponse()

    def requests(self):
        """How many requests came since the last time."""
        lines = -1
        # A line is written when its answer has gone, so perhaps not yet.
        while (now := self.lines()) != lines:
            lines = now
            time.sleep(0.02)
        new, self.counted = lines - self.counted, lines
        return new

    def lines(self):
        with open(self.log_path, "rb") as file:
            return sum(1 for line in file if b'"' in line)

    def put_blob(self, repo, path):
        """Stores a file; its digest."""
        digest = file_digest(path)
        begun = self.ask("POST", f"/v2/{repo}/blobs/uploads/")
        url = urlsplit(expect(begun, 202).headers["Location"])
        size = str(os.path.getsize(path))
        with open(path, "rb") as file:
            put = self.ask("PUT", f"{url.path}?{url.query}&digest={digest}", file, {"Content-Length": size})
        expect(put, 201)
        return digest

    def put_manifest(self, repo, tag, manifest, kind):
        """Stores a manifest, given as what becomes JSON."""
        body = json.dumps(manifest).encode()
        expect(self.ask("PUT", f"/v2/{repo}/manifests/{tag}", body, {"Content-Type": kind}), 201)

    def make_tags(self, repo, count):
        """Gives a repository many tags, where it looks for them: in folders."""
        tags = os.path.join(self.root, "docker/registry/v2/repositories", repo, "_manifests/tags")
        for number in range(count):
            os.makedirs(os.path.join(tags, f"v{number:06}"))


def expect(answer, status):
    body = answer.read()
    if answer.status != status:
        raise SystemExit(f"docker-registry answers {answer.status}: {body[:500]!r}")
    return answer


def file_digest(path):
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            hasher.update(chunk)
    return "sha256:" + hasher.hexdigest()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
