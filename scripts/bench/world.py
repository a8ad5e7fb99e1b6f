"""Where the cases happen: a registry, near and far, and what was put into it."""

import os
import shutil
import subprocess
import sys
import tempfile

import inputs
from registry import Registry

HERE = os.path.dirname(os.path.abspath(__file__))
MEMORY = "/dev/shm"


class World:
    """Everything a case may use; made on demand, and all gone at the end."""

    def __init__(self, sizes, tools, round_trip):
        self.sizes = sizes
        self.tools = tools
        self.round_trip = round_trip
        self.proxy = None
        self.number = 0
        self.images = {}
        self.put = {}
        self.folder = tempfile.mkdtemp(prefix="dxf-bench-")
        fast = MEMORY if os.access(MEMORY, os.W_OK) else None
        self.storage = tempfile.mkdtemp(prefix="dxf-bench-", dir=fast)
        # What is pulled goes where files go: to the disk.
        self.work = os.path.join(self.folder, "work")
        os.mkdir(self.work)
        self.registry = self.other = None
        try:
            self.registry = Registry(self.storage)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        if self.proxy:
            # It ends with its standard input.
            self.proxy.communicate()
        for registry in filter(None, (self.registry, self.other)):
            registry.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.storage, ignore_errors=True)

    def next(self):
        """A number that no run has had."""
        self.number += 1
        return self.number

    def env(self):
        """What commands may see: nothing of whoever runs this."""
        return {"PATH": os.environ.get("PATH", os.defpath), "HOME": self.folder, "LC_ALL": "C.UTF-8"}

    def far_host(self):
        """The registry, seen from far away."""
        if not self.proxy:
            words = [sys.executable, os.path.join(HERE, "delay.py"), self.registry.port, self.round_trip]
            self.proxy = subprocess.Popen(
                [str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                start_new_session=True,
            )
            self.far_port = int(self.proxy.stdout.readline())
        return f"127.0.0.1:{self.far_port}"

    def second(self):
        """Another registry, which knows nothing yet."""
        if not self.other:
            folder = os.path.join(self.storage, "second")
            os.mkdir(folder)
            self.other = Registry(folder)
        return self.other

    def folder_of_files(self, files):
        """A folder of (number, size) files of noise."""
        folder = os.path.join(self.storage, "files-{}-{}".format(*files))
        os.makedirs(folder, exist_ok=True)
        number, size = files
        for seed in range(number):
            inputs.noise(os.path.join(folder, f"{seed:04}.bin"), size, f"file/{seed}")
        return folder

    def noise(self, size, seed=0):
        return inputs.noise(os.path.join(self.storage, f"noise-{size}-{seed}"), size, f"{size}/{seed}")

    def stored(self, size):
        """The digest of so much noise, which is in the repository blobs/here."""
        if size not in self.put:
            self.put[size] = self.registry.put_blob("blobs/here", self.noise(size))
        return self.put[size]

    def image(self, layers):
        """An image of (number, size) layers, in a folder."""
        if layers not in self.images:
            folder = os.path.join(self.storage, "image-{}-{}".format(*layers))
            self.images[layers] = inputs.Image(folder, *layers)
        return self.images[layers]

    def docker_image_in_registry(self, layers):
        """The same image in Docker's words, in a repository of its own."""
        repo = "images/{}-{}-docker".format(*layers)
        if repo not in self.put:
            self.put[repo] = self.image(layers).put_for_docker(self.registry, repo) or True
        return repo

    def image_in_registry(self, layers):
        """The repository of the same image, where it is tagged v1."""
        repo = "images/{}-{}".format(*layers)
        if repo not in self.put:
            self.put[repo] = self.image(layers).put(self.registry, repo) or True
        return repo
