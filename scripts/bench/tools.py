"""The programs that are measured, and how each is asked to do the same thing.

A method that a tool lacks is something it can't do, or not in one command.
"""

import os
import shutil
import subprocess
import tempfile

from measure import PIPE, Step


ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# Where scripts/setup puts what it builds.
BUILT = os.path.join(ROOT, "target/tools")


class Tool:
    """A program on the PATH, or one that scripts/setup has built."""

    name = ""
    version_words = ["--version"]
    # Whether it is measured over https, too.
    secure = False
    # Whether its version is told; not for what consists of others.
    versioned = True

    def __init__(self, program=None):
        self.program = program or shutil.which(self.name) or shutil.which(self.name, path=BUILT)

    def version(self):
        said = subprocess.run(
            [self.program, *self.version_words], stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=False,
        )
        return first_version(said.stdout or said.stderr)

    def step(self, *words, to=None, **more):
        """This program with `words`; stdout to a file, a pipe, or nowhere."""
        return Step([self.program, *words], stdout=to or os.devnull, **more)

    def below(self, folder, *words, **more):
        """The same, run in a folder."""
        script = 'cd "$1"; shift; exec "$@"'
        return Step(["sh", "-ec", script, "sh", folder, self.program, *words], **more)


def authority(host):
    """The file that vouches for a host, if it is asked over https."""
    return getattr(host, "ca", None)


def first_version(text):
    words = [word.strip("v,") for word in text.split()]
    return next((word for word in words if word[:1].isdigit() and "." in word), "?")


class Dxf(Tool):
    name = "dxf"

    secure = True

    def at(self, host):
        if ca := authority(host):
            return {"DXF_HOST": host, "DXF_TLSVERIFY": ca, "DXF_CACHE": "0"}
        return {"DXF_HOST": host, "DXF_INSECURE": "1", "DXF_CACHE": "0"}

    def pull_blob(self, host, repo, digest, path):
        if path == PIPE:
            return self.step("pull-blob", repo, digest, to=PIPE, env=self.at(host))
        return self.step("pull-blob", "-o", path, repo, digest, env=self.at(host), remove=[path])

    def pull_alias(self, host, repo, alias, path):
        return self.pull_blob(host, repo, f"@{alias}", path)

    def push_blob(self, host, repo, path):
        return self.step("push-blob", repo, path, env=self.at(host))

    def set_alias(self, host, repo, alias, digests):
        return self.step("set-alias", repo, alias, *digests, env=self.at(host))

    def list_aliases(self, host, repo):
        return self.step("list-aliases", repo, env=self.at(host))

    def pull_image(self, host, repo, path):
        return self.step("pull-image", f"{repo}:v1", path, env=self.at(host), remove=[path])

    def pull_folder(self, host, repo, path):
        words = ["pull-image", "--format", "oci", f"{repo}:v1", path]
        return self.step(*words, env=self.at(host), remove=[path])

    def push_image(self, host, repo, folder):
        return self.step("push-image", f"oci:{folder}", f"{repo}:v1", env=self.at(host))

    def copy_image(self, host, repo, to_host, to_repo):
        return self.step("copy-image", f"{host}/{repo}:v1", f"{to_host}/{to_repo}:v1", env=self.at(host))

    def label_image(self, host, repo, tag):
        words = ["edit-image", "--label", f"by={tag}", f"{repo}:v1", f"{repo}:{tag}"]
        return self.step(*words, env=self.at(host))

    def append_layer(self, host, repo, tag, layer):
        words = ["edit-image", "--add-tar", layer, f"{repo}:v1", f"{repo}:{tag}"]
        return self.step(*words, env=self.at(host))

    def rebase_image(self, host, repo, tag, old, new):
        words = ["edit-image", "--rebase", f"{repo}:{old}", f"{repo}:{new}", f"{repo}:v1", f"{repo}:{tag}"]
        return self.step(*words, env=self.at(host))

    def push_files(self, host, repo, folder):
        return self.below(os.path.dirname(folder), "push-files", repo, "v1", os.path.basename(folder), env=self.at(host))

    def pull_files(self, host, repo, path):
        return self.step("pull-files", "-o", path, repo, "v1", env=self.at(host), remove=[path])

    def save(self, host, repo, path):
        return self.step("save-bundle", path, f"{repo}:v1", env=self.at(host), remove=[path])

    def load(self, host, repo, path):
        return self.step("load-bundle", f"{path}{self.name}.tar", f"{host}/{repo}", env=self.at(host))


class Before(Dxf):
    """Another build of dxf, to compare this one with."""

    name = "before"


class PythonDxf(Dxf):
    """The tool whose commands ours are, in a virtual environment."""

    name = "python-dxf"

    def __init__(self, venv):
        super().__init__(shutil.which(os.path.join(venv, "bin/dxf")))
        self.python = os.path.join(venv, "bin/python")

    def version(self):
        code = "from importlib.metadata import version; print(version('python-dxf'))"
        said = subprocess.run([self.python, "-c", code], capture_output=True, text=True, check=True)
        return said.stdout.strip()

    def pull_blob(self, host, repo, digest, path):
        remove = [] if path == PIPE else [path]
        return self.step("pull-blob", repo, digest, to=path, env=self.at(host), remove=remove)

    # It knows no images.
    pull_image = pull_folder = push_image = None
    copy_image = label_image = append_layer = rebase_image = push_files = pull_files = save = load = None


class Curl(Tool):
    """What the wire itself takes: nothing is verified."""

    name = "curl"

    def pull_blob(self, host, repo, digest, path):
        url = f"{self.scheme(host)}://{host}/v2/{repo}/blobs/{digest}"
        if path == PIPE:
            return self.step("-sSf", url, to=PIPE, env=self.trusting(host))
        return self.step("-sSf", "-o", path, url, remove=[path], env=self.trusting(host))

    secure = True

    def scheme(self, host):
        return "https" if authority(host) else "http"

    def trusting(self, host):
        return {"CURL_CA_BUNDLE": authority(host)} if authority(host) else {}

    def list_aliases(self, host, repo):
        return self.step("-sSf", f"http://{host}/v2/{repo}/tags/list")

    def push_blob(self, host, repo, path):
        # The digest has to be known before the last request.
        script = (
            'digest=$(openssl dgst -sha256 -r "$1" | cut -c1-64)\n'
            'url=$(curl -sSf -o /dev/null -D - -X POST "$2" | sed -n "s/^[Ll]ocation: //p" | tr -d "\\r")\n'
            'exec curl -sSf -T "$1" "$url&digest=sha256:$digest"'
        )
        url = f"{self.scheme(host)}://{host}/v2/{repo}/blobs/uploads/"
        return Step(["sh", "-ec", script, "sh", path, url], env=self.trusting(host))


class Openssl(Tool):
    """What hashing alone takes."""

    name = "openssl"
    version_words = ["version"]

    def hash(self, path):
        return self.step("dgst", "-sha256", path)


class Hashed(Curl):
    """What the wire, a hash and the disk take: curl and openssl do what dxf does."""

    name = "curl+openssl"
    versioned = False
    list_aliases = push_blob = None

    def __init__(self):
        super().__init__(shutil.which("openssl") and shutil.which("curl"))

    def pull_blob(self, host, repo, digest, path):
        url = f"{self.scheme(host)}://{host}/v2/{repo}/blobs/{digest}"
        if path == PIPE:
            script, remove = 'curl -sSf "$1" | openssl dgst -sha256', []
        else:
            script, remove = 'curl -sSf "$1" | tee "$2" | openssl dgst -sha256; sync "$2"', [path]
        return Step(["sh", "-ec", script, "sh", url, path], remove=remove, env=self.trusting(host))


class Skopeo(Tool):
    name = "skopeo"

    def fresh(self, folder):
        """Without what it remembers of blobs it met before."""
        return {"XDG_DATA_HOME": folder, "_CONTAINERS_ROOTLESS_UID": "1000"}

    def pull_image(self, host, repo, path):
        words = ["--src-tls-verify=false", f"docker://{host}/{repo}:v1", f"docker-archive:{path}:{repo}:v1"]
        memory = f"{path}.skopeo"
        return self.copy(words, remove=[path, memory], env=self.fresh(memory))

    def pull_folder(self, host, repo, path):
        memory = f"{path}.skopeo"
        words = ["--src-tls-verify=false", f"docker://{host}/{repo}:v1", f"oci:{path}:v1"]
        return self.copy(words, remove=[path, memory], env=self.fresh(memory))

    def push_image(self, host, repo, folder):
        words = ["--dest-tls-verify=false", f"oci:{folder}:v1", f"docker://{host}/{repo}:v1"]
        memory = f"{folder}.skopeo"
        return self.copy(words, remove=[memory], env=self.fresh(memory))

    def save(self, host, repo, path):
        words = ["--src-tls-verify=false", f"docker://{host}/{repo}:v1", f"oci-archive:{path}:v1"]
        memory = f"{path}.skopeo"
        return self.copy(words, remove=[path, memory], env=self.fresh(memory))

    def load(self, host, repo, path):
        file = f"{path}{self.name}.tar"
        words = ["--dest-tls-verify=false", f"oci-archive:{file}:v1", f"docker://{host}/{repo}:v1"]
        memory = f"{file}.skopeo"
        return self.copy(words, remove=[memory], env=self.fresh(memory))

    def copy(self, words, **more):
        return self.step("copy", "--quiet", "--insecure-policy", *words, **more)

    def copy_image(self, host, repo, to_host, to_repo):
        memory = os.path.join(tempfile.gettempdir(), f"dxf-bench-skopeo-{os.getpid()}")
        words = ["--src-tls-verify=false", "--dest-tls-verify=false"]
        words += [f"docker://{host}/{repo}:v1", f"docker://{to_host}/{to_repo}:v1"]
        return self.copy(words, remove=[memory], env=self.fresh(memory))

    def list_aliases(self, host, repo):
        return self.step("list-tags", "--tls-verify=false", f"docker://{host}/{repo}")


class Crane(Tool):
    name = "crane"
    version_words = ["version"]
    secure = True

    def pull_blob(self, host, repo, digest, path):
        remove = [] if path == PIPE else [path]
        if ca := authority(host):
            env = {"SSL_CERT_FILE": ca}
            return self.step("blob", f"{host}/{repo}@{digest}", to=path, remove=remove, env=env)
        return self.step("blob", "--insecure", f"{host}/{repo}@{digest}", to=path, remove=remove)

    def append_layer(self, host, repo, tag, layer):
        words = ["--insecure", "-b", f"{host}/{repo}:v1", "-f", layer, "-t", f"{host}/{repo}:{tag}"]
        return self.step("append", *words)

    def rebase_image(self, host, repo, tag, old, new):
        words = ["--old_base", f"{host}/{repo}:{old}", "--new_base", f"{host}/{repo}:{new}"]
        return self.step("rebase", "--insecure", *words, "-t", f"{host}/{repo}:{tag}", f"{host}/{repo}:v1")

    def pull_image(self, host, repo, path):
        return self.step("pull", "--insecure", f"{host}/{repo}:v1", path, remove=[path])

    def pull_folder(self, host, repo, path):
        words = ["pull", "--insecure", "--format", "oci", f"{host}/{repo}:v1", path]
        return self.step(*words, remove=[path])

    def push_image(self, host, repo, folder):
        return self.step("push", "--insecure", folder, f"{host}/{repo}:v1")

    def copy_image(self, host, repo, to_host, to_repo):
        return self.step("copy", "--insecure", f"{host}/{repo}:v1", f"{to_host}/{to_repo}:v1")

    def label_image(self, host, repo, tag):
        words = ["--insecure", "--label", f"by={tag}", "--tag", f"{host}/{repo}:{tag}"]
        return self.step("mutate", *words, f"{host}/{repo}:v1")

    # A tar of one image, which is as near as it comes to a bundle.
    save = pull_image

    def load(self, host, repo, path):
        return self.step("push", "--insecure", f"{path}{self.name}.tar", f"{host}/{repo}:v1")

    def list_aliases(self, host, repo):
        return self.step("ls", "--insecure", f"{host}/{repo}")


class Oras(Tool):
    name = "oras"
    version_words = ["version"]

    def pull_blob(self, host, repo, digest, path):
        name = f"{host}/{repo}@{digest}"
        if path == PIPE:
            return self.step("blob", "fetch", *self.way(host), "--output", "-", name, to=PIPE)
        return self.step("blob", "fetch", *self.way(host), "--output", path, name, remove=[path])

    secure = True

    def way(self, host):
        """The options for https or plain http."""
        return ["--ca-file", authority(host)] if authority(host) else ["--plain-http"]

    def push_blob(self, host, repo, path):
        return self.step("blob", "push", *self.way(host), f"{host}/{repo}", path)

    def pull_folder(self, host, repo, path):
        words = ["cp", "--from-plain-http", "--to-oci-layout", f"{host}/{repo}:v1", f"{path}:v1"]
        return self.step(*words, remove=[path])

    def push_image(self, host, repo, folder):
        words = ["--from-oci-layout", "--to-plain-http", f"{folder}:v1", f"{host}/{repo}:v1"]
        return self.step("cp", *words)

    def copy_image(self, host, repo, to_host, to_repo):
        plain = ["--from-plain-http", "--to-plain-http"]
        return self.step("cp", *plain, f"{host}/{repo}:v1", f"{to_host}/{to_repo}:v1")

    def push_files(self, host, repo, folder):
        words = ["push", "--plain-http", f"{host}/{repo}:v1", os.path.basename(folder)]
        return self.below(os.path.dirname(folder), *words)

    def pull_files(self, host, repo, path):
        return self.step("pull", "--plain-http", "--output", path, f"{host}/{repo}:v1", remove=[path])

    def save(self, host, repo, path):
        words = ["backup", "--plain-http", "--output", path, f"{host}/{repo}:v1"]
        return self.step(*words, remove=[path])

    def load(self, host, repo, path):
        words = ["restore", "--plain-http", "--input", f"{path}{self.name}.tar"]
        return self.step(*words, f"{host}/{repo}:v1")

    def list_aliases(self, host, repo):
        return self.step("repo", "tags", "--plain-http", f"{host}/{repo}")


class Regctl(Tool):
    name = "regctl"
    version_words = ["version", "--format", "{{.VCSTag}}"]

    def step(self, host, *words, **more):
        return super().step("--host", f"reg={host},tls=disabled", *words, **more)

    def pull_blob(self, host, repo, digest, path):
        remove = [] if path == PIPE else [path]
        return self.step(host, "blob", "get", f"{host}/{repo}", digest, to=path, remove=remove)

    def pull_image(self, host, repo, path):
        return self.step(host, "image", "export", f"{host}/{repo}:v1", path, remove=[path])

    def pull_folder(self, host, repo, path):
        words = ["image", "copy", f"{host}/{repo}:v1", f"ocidir://{path}:v1"]
        return self.step(host, *words, remove=[path])

    def push_image(self, host, repo, folder):
        return self.step(host, "image", "copy", f"ocidir://{folder}:v1", f"{host}/{repo}:v1")

    def copy_image(self, host, repo, to_host, to_repo):
        words = ["--host", f"reg={to_host},tls=disabled", "image", "copy"]
        return self.step(host, *words, f"{host}/{repo}:v1", f"{to_host}/{to_repo}:v1")

    def label_image(self, host, repo, tag):
        words = ["image", "mod", f"{host}/{repo}:v1", "--create", f"{host}/{repo}:{tag}", "--label", f"by={tag}"]
        return self.step(host, *words)

    save = pull_image

    def load(self, host, repo, path):
        return self.step(host, "image", "import", f"{host}/{repo}:v1", f"{path}{self.name}.tar")

    def list_aliases(self, host, repo):
        return self.step(host, "tag", "ls", f"{host}/{repo}")


class Charon(Tool):
    """docker-charon, in a virtual environment; it takes images of Docker alone."""

    name = "docker-charon"
    other = None
    script = (
        "import sys\nfrom docker_charon.__main__ import make_payload, push_payload\n"
        "command, host, path, *images = sys.argv[1:]\nwho = (host, False, None, None)\n"
        "push_payload(path, True, *who) if command == 'push' else make_payload(images[0], None, path, *who)"
    )

    def __init__(self):
        super().__init__(shutil.which(os.path.join(BUILT, "docker-charon/bin/python")))

    def version(self):
        code = "from importlib.metadata import version; print(version('docker-charon'))"
        said = subprocess.run([self.program, "-c", code], capture_output=True, text=True, check=True)
        return said.stdout.strip()

    def save(self, host, repo, path):
        words = ["-c", self.script, "make", host, path, f"{repo}-docker:v1"]
        return self.step(*words, remove=[path])

    def load(self, host, repo, path):
        # It gives images the name they had, so it has a registry of its own, which
        # is empty every time.
        words = ["-c", self.script, "push", self.other.host, f"{path}{self.name}.tar"]
        return self.step(*words, remove=[os.path.join(self.other.root, "docker")])


def found(dxf, venv, before=None):
    """Those that are here, ours first; with `before`, only the two builds."""
    if before:
        return [Dxf(dxf), Before(before)]
    tools = [Dxf(dxf), Curl(), Hashed(), Openssl(), PythonDxf(venv), Crane(), Skopeo(), Oras(), Regctl(), Charon()]
    return [tool for tool in tools if tool.program]
