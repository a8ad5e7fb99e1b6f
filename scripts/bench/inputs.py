"""What is pushed and pulled: noise that is the same every time, which nobody
can compress, and images made of it."""

import gzip
import hashlib
import io
import json
import os
import random
import tarfile

CHUNK = 16 << 20
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER = "application/vnd.docker."
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def noise(path, size, seed):
    """Writes a file of noise, unless it is there."""
    if os.path.exists(path):
        return path
    source = random.Random(seed)
    with open(path, "wb") as file:
        while size > 0:
            size -= file.write(source.randbytes(min(size, CHUNK)))
    return path


class Image:
    """An image as an OCI layout in `folder`, tagged v1."""

    def __init__(self, folder, layers, size):
        self.folder = folder
        self.blobs = os.path.join(folder, "blobs/sha256")
        os.makedirs(self.blobs)
        made = [self.layer(seed, size) for seed in range(layers)]
        self.layers = [layer for layer, _ in made]
        config = {
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in made]},
        }
        self.config = self.add(CONFIG, json.dumps(config).encode())
        self.manifest = {
            "schemaVersion": 2, "mediaType": MANIFEST, "config": self.config, "layers": self.layers,
        }
        entry = self.add(MANIFEST, json.dumps(self.manifest).encode())
        entry["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
        self.write("index.json", {"schemaVersion": 2, "manifests": [entry]})
        self.write("oci-layout", {"imageLayoutVersion": "1.0.0"})

    def layer(self, seed, size):
        """A layer with one file of noise, and its diff id."""
        tar = io.BytesIO()
        with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
            member = tarfile.TarInfo(f"file{seed}")
            member.size = size
            archive.addfile(member, io.BytesIO(random.Random(f"{seed}/{size}").randbytes(size)))
        # Noise gets no smaller, so no time is lost on trying.
        packed = gzip.compress(tar.getvalue(), 0, mtime=0)
        return self.add(LAYER, packed), digest(tar.getvalue())

    def add(self, kind, content):
        name = digest(content)
        with open(self.path(name), "wb") as file:
            file.write(content)
        return {"mediaType": kind, "digest": name, "size": len(content)}

    def path(self, name):
        return os.path.join(self.blobs, name.removeprefix("sha256:"))

    def write(self, name, document):
        with open(os.path.join(self.folder, name), "w") as file:
            json.dump(document, file)

    def put(self, registry, repo):
        """Stores the image in a registry, tagged v1."""
        for blob in [self.config, *self.layers]:
            registry.put_blob(repo, self.path(blob["digest"]))
        registry.put_manifest(repo, "v1", self.manifest, MANIFEST)


    def put_for_docker(self, registry, repo):
        """Stores the image under the media types of Docker, tagged v1."""
        self.put(registry, repo)
        as_docker = lambda blob, kind: {**blob, "mediaType": DOCKER + kind}
        manifest = {
            "schemaVersion": 2, "mediaType": DOCKER + "distribution.manifest.v2+json",
            "config": as_docker(self.config, "container.image.v1+json"),
            "layers": [as_docker(layer, "image.rootfs.diff.tar.gzip") for layer in self.layers],
        }
        registry.put_manifest(repo, "v1", manifest, manifest["mediaType"])


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()
