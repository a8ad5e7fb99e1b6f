"""What is pushed and pulled: noise that is the same every time, which nobody
can compress, and images made of it."""

import gzip
import hashlib
import io
import json
import os
import random
import subprocess
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
        made = [layer(seed, size) for seed in range(layers)]
        self.layers = [self.add(LAYER, packed) for packed, _ in made]
        self.diff_ids = [diff_id for _, diff_id in made]
        self.config, self.manifest = self.of_layers(layers)
        entry = self.add(MANIFEST, json.dumps(self.manifest).encode())
        entry["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
        self.write("index.json", {"schemaVersion": 2, "manifests": [entry]})
        self.write("oci-layout", {"imageLayoutVersion": "1.0.0"})

    def of_layers(self, count):
        """The config and the manifest of the first layers."""
        config = self.add(CONFIG, json.dumps({
            "architecture": "amd64", "os": "linux", "config": {},
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids[:count]},
        }).encode())
        manifest = {
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": self.layers[:count],
        }
        return config, manifest

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

    def put(self, registry, repo, tag="v1"):
        """Stores the image in a registry."""
        for blob in [self.config, *self.layers]:
            registry.put_blob(repo, self.path(blob["digest"]))
        registry.put_manifest(repo, tag, self.manifest, MANIFEST)

    def put_base(self, registry, repo, tag):
        """Stores all of the image but its last layer, where that is already."""
        config, manifest = self.of_layers(len(self.layers) - 1)
        registry.put_blob(repo, self.path(config["digest"]))
        registry.put_manifest(repo, tag, manifest, MANIFEST)

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


def layer(seed, size):
    """A layer with one file of noise, and its diff id."""
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo(f"file{seed}")
        member.size = size
        archive.addfile(member, io.BytesIO(random.Random(f"{seed}/{size}").randbytes(size)))
    # Noise gets no smaller, so no time is lost on trying.
    return gzip.compress(tar.getvalue(), 0, mtime=0), digest(tar.getvalue())


def certificate(folder):
    """The files of a certificate for 127.0.0.1 that vouches for itself, and of its key."""
    made = os.path.join(folder, "certificate.pem"), os.path.join(folder, "key.pem")
    words = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    words += ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-out", made[0], "-keyout", made[1]]
    subprocess.run(["openssl", "req", *words], check=True, capture_output=True)
    return made


def digest(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()
