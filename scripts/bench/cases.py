"""What is measured: each case makes what it needs, and says what every tool
that can do it has to run."""

import os
from dataclasses import dataclass

import inputs
import measure
from measure import PIPE, Step
from world import FAR, HTTPS, NARROW, NEAR, VERY_FAR

MiB = 1 << 20


@dataclass
class Sizes:
    """How large things are, and how often they are done."""

    blob: int = 1024 * MiB
    small_blob: int = 64 * MiB
    large_layers: tuple = (10, 50 * MiB)
    small_layers: tuple = (60, MiB)
    far_blob: int = 256 * MiB
    files: tuple = (1000, 128 << 10)
    many: int = 50
    tags: int = 100_000
    repeats: int = 20


QUICK = Sizes(
    blob=64 * MiB, small_blob=8 * MiB, large_layers=(4, 4 * MiB), small_layers=(20, 64 << 10),
    far_blob=16 * MiB, files=(20, 64 << 10), many=10, tags=5_000, repeats=5,
)


# Those that send files without reading them.
SENDFILE = ["crane", "oras"]


class Case:
    """Something several tools do, for the sake of comparing them."""

    def __init__(self, name, title, method, place=NEAR, plot=False, **more):
        self.name = name
        # Where the registry is, and whether it is in the plot.
        self.place, self.plot = place, plot
        self.title = title
        # The tools' method that does it.
        self.method = method
        self.more = more

    def reason(self, tool, what):
        """Why a tool can take less wall or CPU time, where that is known."""
        if tool == "curl":
            return "curl hashes nothing, syncs nothing and knows no registry: it is what the wire takes."
        if tool == "openssl":
            return "openssl hashes the same bytes in a file and asks no registry: no tool that verifies can take less."
        if tool == "dxf pull-image":
            return "dxf pull-image writes one image as it arrives, without an index in front."
        if self.saves and tool != "before" and not tool.startswith("dxf"):
            return f"{tool} is done before what it saved is on the disk; dxf syncs it first."
        if self.sends and tool in SENDFILE and not self.place.tls:
            return (
                f"{tool} lets the kernel send its files (sendfile), which leaves more CPU to the registry on "
                "the same machine, and is possible over plain http alone."
            )
        if self.hashes and what == "cpu":
            return f"{tool} hashes between reads; dxf hashes on a second thread, which takes more CPU and less time."
        return None

    # Whether a file or a folder is left, which dxf syncs.
    saves = False
    # Whether files are sent.
    sends = False
    # Whether what arrives is hashed on its way.
    hashes = False

    def describe(self, sizes):
        return self.title.format(**{key: show(value) for key, value in vars(sizes).items()})

    def prepare(self, world):
        """Makes what is needed; gives what makes the words behind the host for
        run number i."""
        raise NotImplementedError

    def times(self, sizes):
        """How often a command is repeated within one run."""
        return 1

    def contestants(self, world):
        """By tool, what makes its step for run number i."""
        words = self.prepare(world)
        host = world.host(self.place)
        times = self.times(world.sizes)
        made = {}
        for tool in world.tools:
            if self.place.tls and not tool.secure:
                continue
            if method := getattr(tool, self.method, None):
                made[tool.name] = lambda i, method=method: repeated(method(host, *words(i)), times)
        return made


def repeated(step, times):
    """The same step several times in one run, for what is too short to time."""
    if times == 1:
        return step
    script = 'n=$1; shift; while [ "$n" -gt 0 ]; do "$@"; n=$((n - 1)); done'
    step.argv = ["sh", "-ec", script, "sh", times, *step.argv]
    return step


def show(value):
    if isinstance(value, tuple):
        return f"{value[0]} x {show(value[1])}"
    if value >= 1024 * MiB:
        return f"{value // (1024 * MiB)} GiB"
    if value >= MiB:
        return f"{value // MiB} MiB"
    return f"{value // 1024} KiB" if value >= 1 << 16 and value % 1024 == 0 else f"{value:,}"


def hashing(world, size):
    """The least that has to be done with a blob: to hash it."""
    path = world.noise(getattr(world.sizes, size))
    hashers = [tool for tool in world.tools if tool.name == "openssl"]
    return {tool.name: lambda i, tool=tool: tool.hash(path) for tool in hashers}


class PullBlob(Case):
    hashes = True

    @property
    def saves(self):
        return self.more["to"] != PIPE

    def prepare(self, world):
        digest = world.stored(getattr(world.sizes, self.more["size"]))
        path = PIPE if self.more["to"] == PIPE else os.path.join(world.work, "pulled")
        return lambda i: ("blobs/here", digest, path)

    def contestants(self, world):
        made = super().contestants(world)
        return {**made, **hashing(world, self.more["size"])} if self.more["to"] == PIPE else made


class FirstByte(PullBlob):
    """How long a file, or what is renamed to it, takes to have its first bytes."""

    saves = False

    def contestants(self, world):
        made = super().contestants(world)
        # What a shell started is not accounted for when it is ended.
        made.pop("curl+openssl", None)
        return {tool: lambda i, make=make: self.watched(make(i)) for tool, make in made.items()}

    def watched(self, step):
        # dxf writes to the second, which stays when it is ended.
        step.until = step.remove = [name for path in step.remove for name in (path, f"{path}.partial")]
        return step


class PushBlob(Case):
    sends = True

    def prepare(self, world):
        size = getattr(world.sizes, self.more["size"])
        path = world.noise(size)
        if self.more.get("new"):
            # A repository that knows no blob yet.
            return lambda i: (f"blobs/new{i}", path)
        world.stored(size)
        return lambda i: ("blobs/here", path)

    def contestants(self, world):
        made = super().contestants(world)
        if not self.more.get("new"):
            # What curl does is send.
            made.pop("curl", None)
        return {**made, **hashing(world, self.more["size"])}


class PushMany(Case):
    """Small files, a process each."""

    def prepare(self, world):
        files = [world.noise(4096, seed) for seed in range(world.sizes.many)]
        return lambda i: (f"many/new{i}", files)

    def contestants(self, world):
        words = self.prepare(world)
        host = world.host(self.place)
        made = {}
        for tool in world.tools:
            if tool.name != "curl" and getattr(tool, "push_blob", None):
                made[tool.name] = lambda i, tool=tool: self.each(tool, host, *words(i))
        return made

    def each(self, tool, host, repo, files):
        """The command of one file, for all of them: its last word is the file."""
        step = tool.push_blob(host, repo, "FILE")
        words = step.argv[:-1]
        quoted = " ".join(f'"${{{number}}}"' for number in range(1, len(words) + 1))
        script = f'for file in $FILES; do {quoted} "$file"; done'
        env = {**step.env, "FILES": " ".join(files)}
        return Step(["sh", "-ec", script, "sh", *words], env=env)


class PullImage(Case):
    saves = True

    def prepare(self, world):
        repo = world.image_in_registry(getattr(world.sizes, self.more["layers"]))
        path = os.path.join(world.work, "pulled.tar")
        return lambda i: (repo, path)


class Save(PullImage):
    """An image to a file to be carried, beside how one is pulled."""

    def prepare(self, world):
        world.docker_image_in_registry(getattr(world.sizes, self.more["layers"]))
        return super().prepare(world)

    def contestants(self, world):
        return with_twin(super().contestants(world), world, "pull_image", self.prepare(world))


class Load(Case):
    """The same file, as each tool writes its own, into repositories that are new."""

    def prepare(self, world):
        save = Save("", "", "save", layers=self.more["layers"])
        repo, path = save.prepare(world)(0)
        for tool in world.tools:
            if hasattr(tool, "other"):
                tool.other = world.second()
            if getattr(tool, "load", None) and getattr(tool, "save", None):
                try:
                    measure.run(tool.save(world.registry.host, repo, f"{path}.{tool.name}.tar"), world.env())
                except measure.Failed:
                    # Its row says why.
                    pass
        return lambda i: (f"images/new{i}", f"{path}.")

    def contestants(self, world):
        image = world.image(getattr(world.sizes, self.more["layers"]))
        push = lambda i: (f"images/new{i}", image.folder)
        return with_twin(super().contestants(world), world, "push_image", push)


def with_twin(made, world, method, words):
    """The contestants, and dxf's own command for an image that stays here."""
    ours = next((tool for tool in world.tools if tool.name == "dxf"), None)
    if ours:
        name = f"dxf {method.replace('_', '-')}"
        made[name] = lambda i: getattr(ours, method)(world.registry.host, *words(i))
    return made


class PushImage(Case):
    sends = True

    def prepare(self, world):
        image = world.image(getattr(world.sizes, self.more["layers"]))
        if self.more.get("again"):
            repo = world.image_in_registry(getattr(world.sizes, self.more["layers"]))
            return lambda i: (repo, image.folder)
        return lambda i: (f"images/new{i}", image.folder)


class CopyImage(Case):
    hashes = True

    def prepare(self, world):
        repo = world.image_in_registry(getattr(world.sizes, self.more["layers"]))
        return lambda i: (repo, world.second().host, f"images/new{i}")


class LabelImage(Case):
    def prepare(self, world):
        repo = world.image_in_registry(getattr(world.sizes, self.more["layers"]))
        return lambda i: (repo, f"label{i}")


class AppendLayer(Case):
    def prepare(self, world):
        repo = world.image_in_registry(getattr(world.sizes, self.more["layers"]))
        layer = world.layer()
        return lambda i: (repo, f"more{i}", layer)


class RebaseImage(Case):
    """The last layer of an image goes from its base to another."""

    def prepare(self, world):
        repo, old, new = world.bases_in_registry(getattr(world.sizes, self.more["layers"]))
        return lambda i: (repo, f"rebased{i}", old, new)


class PushFiles(Case):
    def prepare(self, world):
        folder = world.folder_of_files(world.sizes.files)
        return lambda i: (f"files/new{i}", folder)


class PullFiles(Case):
    saves = True

    def prepare(self, world):
        folder = world.folder_of_files(world.sizes.files)
        ours = next(tool for tool in world.tools if tool.name == "dxf")
        measure.run(ours.push_files(world.registry.host, "files/here", folder), world.env())
        path = os.path.join(world.work, "files")
        return lambda i: ("files/here", path)


class PullAlias(Case):
    saves = True

    def prepare(self, world):
        repo = world.image_in_registry(getattr(world.sizes, self.more["layers"]))
        path = os.path.join(world.work, "pulled")
        return lambda i: (repo, "v1", path)


class SetAlias(Case):
    def prepare(self, world):
        files = [world.noise(4096, seed) for seed in range(world.sizes.many)]
        digests = [world.registry.put_blob("many/here", path) for path in files]
        return lambda i: ("many/here", f"v{i}", digests)


class ListAliases(Case):
    def prepare(self, world):
        count = self.more.get("count", 0) or world.sizes.tags
        repo = f"tags/{count}"
        world.registry.make_tags(repo, count)
        return lambda i: (repo,)

    def times(self, sizes):
        return sizes.repeats if self.more.get("count") else 1


# What two builds of dxf are compared by.
BUILDS = [
    "pull-pipe", "pull-file", "push-new", "push-existing", "push-many", "start-up",
    "image-small", "image-push",
]

ALL = [
    PullBlob("pull-pipe", "pull {blob} to a pipe", "pull_blob", size="blob", to=PIPE),
    PullBlob("pull-file", "pull {blob} to a file", "pull_blob", size="blob", to="file", plot=True),
    PullBlob("pull-file-small", "pull {small_blob} to a file", "pull_blob", size="small_blob", to="file"),
    FirstByte("first-byte", "the first byte of {blob} in a file", "pull_blob", size="blob", to="file"),
    PushBlob("push-new", "push {blob}, new", "push_blob", size="blob", new=True, plot=True),
    PushBlob("push-new-small", "push {small_blob}, new", "push_blob", size="small_blob", new=True),
    PushBlob("push-existing", "push {blob} that is there", "push_blob", size="blob"),
    PushMany("push-many", "push {many} blobs of 4 KiB, a process each", "push_blob", plot=True),
    ListAliases("start-up", "list one alias", "list_aliases", count=1, plot=True),
    ListAliases("list-many", "list {tags} aliases", "list_aliases"),
    PullImage("image-large", "pull an image of {large_layers} to a tar", "pull_image", layers="large_layers"),
    PullImage("image-small", "pull an image of {small_layers} to a tar", "pull_image", layers="small_layers", plot=True),
    PullImage("image-folder", "pull an image of {small_layers} to a folder", "pull_folder", layers="small_layers"),
    PushImage("image-push-large", "push an image of {large_layers} from a folder", "push_image", layers="large_layers"),
    PushImage("image-push", "push an image of {small_layers} from a folder", "push_image", layers="small_layers", plot=True),
    PushImage("image-push-again", "push the same image again", "push_image", layers="small_layers", again=True),
    CopyImage("copy", "copy an image of {small_layers} to another registry", "copy_image", layers="small_layers"),
    LabelImage("label", "label an image of {small_layers} in the registry", "label_image", layers="small_layers"),
    AppendLayer("append", "add a layer to an image of {small_layers} in the registry", "append_layer", layers="small_layers"),
    RebaseImage("rebase", "put an image of {small_layers} on another base", "rebase_image", layers="small_layers"),
    Save("save", "save an image of {small_layers} as a bundle", "save", layers="small_layers"),
    Save("save-large", "save an image of {large_layers} as a bundle", "save", layers="large_layers"),
    Load("load", "load an image of {small_layers} from a bundle", "load", layers="small_layers"),
    Load("load-large", "load an image of {large_layers} from a bundle", "load", layers="large_layers"),
    PushFiles("files-push", "push a folder of {files}", "push_files"),
    PullFiles("files-pull", "pull the same folder", "pull_files"),
    PullImage("far-image", "pull an image of {small_layers} to a tar", "pull_image", FAR, True, layers="small_layers"),
    PullImage("far-folder", "pull an image of {small_layers} to a folder", "pull_folder", FAR, layers="small_layers"),
    PullAlias("far-alias", "pull an alias of {small_layers} to a file", "pull_alias", FAR, True, layers="small_layers"),
    PushImage("far-push", "push an image of {small_layers} from a folder", "push_image", FAR, True, layers="small_layers"),
    SetAlias("far-set-alias", "name {many} blobs", "set_alias", FAR, True),
    PullBlob("far-pull", "pull {far_blob} to a file", "pull_blob", FAR, True, size="far_blob", to="file"),
    FirstByte("far-first-byte", "the first byte of {far_blob} in a file", "pull_blob", FAR, size="far_blob", to="file"),
    PushMany("far-many", "push {many} blobs of 4 KiB, a process each", "push_blob", FAR),
    PullImage("farther-image", "pull an image of {small_layers} to a tar", "pull_image", VERY_FAR, layers="small_layers"),
    PushImage("farther-push", "push an image of {small_layers} from a folder", "push_image", VERY_FAR, layers="small_layers"),
    PullBlob("farther-pull", "pull {far_blob} to a file", "pull_blob", VERY_FAR, size="far_blob", to="file"),
    PullBlob("narrow-pull", "pull {small_blob} to a file", "pull_blob", NARROW, size="small_blob", to="file"),
    PullImage("narrow-image", "pull an image of {small_layers} to a tar", "pull_image", NARROW, layers="small_layers"),
    PullBlob("https-pipe", "pull {blob} to a pipe", "pull_blob", HTTPS, size="blob", to=PIPE),
    PullBlob("https-file", "pull {blob} to a file", "pull_blob", HTTPS, size="blob", to="file"),
    PushBlob("https-push", "push {blob}, new", "push_blob", HTTPS, size="blob", new=True),
]
