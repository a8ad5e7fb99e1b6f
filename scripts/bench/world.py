"""Where the cases happen: a registry, near and far, and what was put into it."""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import inputs
from registry import Registry


@dataclass(frozen=True)
class Place:
    """Where the registry is, seen from the commands."""

    # What stands above its table.
    title: str = ""
    # Milliseconds; that of --latency where it is unknown.
    round_trip: float = 0
    # Bytes a second and connection; 0 is any number of them.
    rate: int = 0
    tls: bool = False


NEAR = Place()
FAR = Place("With a round trip of {latency:g} ms:", None)
VERY_FAR = Place("With a round trip of 100 ms:", 100)
NARROW = Place("With a round trip of 20 ms and at most 16 MiB a second over a connection:", 20, 16 << 20)
HTTPS = Place("Over https, near, verified with an authority of its own:", tls=True)
PLACES = [NEAR, FAR, VERY_FAR, NARROW, HTTPS]


class SecureHost(str):
    """A host that is asked over https, with the authority that vouches for it."""

    ca = None


HERE = os.path.dirname(os.path.abspath(__file__))
MEMORY = "/dev/shm"


class World:
    """Everything a case may use; made on demand, and all gone at the end."""

    def __init__(self, sizes, tools, round_trip):
        self.sizes = sizes
        self.tools = tools
        self.round_trip = round_trip
        self.proxies = {}
        self.number = 0
        self.images = {}
        self.put = {}
        self.folder = tempfile.mkdtemp(prefix="dxf-bench-")
        fast = MEMORY if os.access(MEMORY, os.W_OK) else None
        self.storage = tempfile.mkdtemp(prefix="dxf-bench-", dir=fast)
        # What is pulled goes where files go: to the disk.
        self.work = os.path.join(self.folder, "work")
        os.mkdir(self.work)
        self.registry = self.other = self.secure = None
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
        for proxy, _ in self.proxies.values():
            # It ends with its standard input.
            proxy.communicate()
        for registry in filter(None, (self.registry, self.other, self.secure)):
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

    def host(self, place):
        """The registry, as it is reached from there."""
        if place.tls:
            return self.secure_host()
        round_trip = self.round_trip if place.round_trip is None else place.round_trip
        if not round_trip:
            return self.registry.host
        if place not in self.proxies:
            words = [sys.executable, os.path.join(HERE, "delay.py"), self.registry.port, round_trip, place.rate]
            proxy = subprocess.Popen(
                [str(word) for word in words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                start_new_session=True,
            )
            self.proxies[place] = proxy, int(proxy.stdout.readline())
        return f"127.0.0.1:{self.proxies[place][1]}"

    def secure_host(self):
        """The same storage over https."""
        if not self.secure:
            folder = os.path.join(self.storage, "https")
            os.mkdir(folder)
            self.secure = Registry(folder, self.registry.root, inputs.certificate(folder))
        host = SecureHost(self.secure.host)
        host.ca = self.secure.certificate
        return host

    def requests(self):
        """How many requests the registry got since the last time."""
        return sum(one.requests() for one in (self.registry, self.secure) if one)

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

    def layer(self):
        """A layer that no image has, in a file."""
        path = os.path.join(self.storage, "layer.tar.gz")
        with open(path, "wb") as file:
            file.write(inputs.layer("more", 1 << 20)[0])
        return path

    def bases_in_registry(self, layers):
        """The repository of an image with the tags of its base, which is all of it
        but its last layer, and of a base of as many other layers."""
        repo = self.image_in_registry(layers)
        old, new = "base", "newer"
        if old not in self.put:
            self.put[old] = self.image(layers).put_base(self.registry, repo, old)
            folder = os.path.join(self.storage, "image-newer")
            inputs.Image(folder, layers[0] - 1, layers[1] // 2).put(self.registry, repo, new)
        return repo, old, new

    def image_in_registry(self, layers):
        """The repository of the same image, where it is tagged v1."""
        repo = "images/{}-{}".format(*layers)
        if repo not in self.put:
            self.put[repo] = self.image(layers).put(self.registry, repo) or True
        return repo
