#!/usr/bin/env python3
"""Makes an OCI image layout from a directory tree, byte for byte the same for the same tree.

    oci.py --root DIR --arch arm64|armhf|amd64 --version V --epoch SECONDS --licenses L
           [--label KEY=VALUE]... --out DIR

The tree becomes one layer. No daemon and no base image: what is not in the tree is not in the image.
The formats are those of the OCI image specification 1.0.
"""

import argparse
import datetime
import gzip
import hashlib
import io
import json
import pathlib
import shutil
import tarfile

# No name service is in the image, so the user is a number; anything but root would do.
USER = 65532
# What belongs to that user; the rest is root's.
WRITABLE = "var/lib/eir"
ARCHITECTURES = {
    "amd64": {"architecture": "amd64"},
    "arm64": {"architecture": "arm64", "variant": "v8"},
    "armhf": {"architecture": "arm", "variant": "v7"},
}


def layer(root, epoch):
    """The tree as a tar archive: sorted, and without anything of the machine that it was made on."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(root.rglob("*")):
            name = path.relative_to(root).as_posix()
            info = archive.gettarinfo(path, name)
            info.mtime = epoch
            info.uname = info.gname = ""
            owned = name == WRITABLE or name.startswith(WRITABLE + "/")
            info.uid = info.gid = USER if owned else 0
            if info.isreg():
                with path.open("rb") as content:
                    archive.addfile(info, content)
            else:
                archive.addfile(info)
    return buffer.getvalue()


class Layout:
    """A layout under construction: blobs by their hash."""

    def __init__(self, directory):
        self.directory = directory
        (directory / "blobs" / "sha256").mkdir(parents=True)
        self.write("oci-layout", {"imageLayoutVersion": "1.0.0"})

    def write(self, name, value):
        (self.directory / name).write_bytes(encode(value))

    def blob(self, content, media_type):
        """Stores a blob and gives its descriptor."""
        digest = hashlib.sha256(content).hexdigest()
        (self.directory / "blobs" / "sha256" / digest).write_bytes(content)
        return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def encode(value):
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def image(arguments):
    labels = dict(label.split("=", 1) for label in arguments.label)
    labels |= {
        "org.opencontainers.image.title": "eir",
        "org.opencontainers.image.version": arguments.version,
        "org.opencontainers.image.licenses": arguments.licenses,
    }
    platform = ARCHITECTURES[arguments.arch] | {"os": "linux"}
    tar = layer(arguments.root, arguments.epoch)
    created = datetime.datetime.fromtimestamp(arguments.epoch, datetime.timezone.utc)
    config = platform | {
        "created": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "config": {
            "User": f"{USER}:{USER}",
            "Entrypoint": ["/usr/bin/eir"],
            "Cmd": ["run", "--config", "/etc/eir/eir.toml"],
            "Env": ["SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"],
            "WorkingDir": "/" + WRITABLE,
            "StopSignal": "SIGTERM",
            "Labels": labels,
        },
        "rootfs": {"type": "layers", "diff_ids": ["sha256:" + hashlib.sha256(tar).hexdigest()]},
        "history": [{"created": created.strftime("%Y-%m-%dT%H:%M:%SZ"), "created_by": "cross/package"}],
    }
    if arguments.out.exists():
        shutil.rmtree(arguments.out)
    layout = Layout(arguments.out)
    kind = "application/vnd.oci.image"
    manifest = {
        "schemaVersion": 2,
        "mediaType": f"{kind}.manifest.v1+json",
        "config": layout.blob(encode(config), f"{kind}.config.v1+json"),
        # The time in gzip's header would differ from run to run.
        "layers": [layout.blob(gzip.compress(tar, 9, mtime=0), f"{kind}.layer.v1.tar+gzip")],
        "annotations": labels,
    }
    described = layout.blob(encode(manifest), manifest["mediaType"])
    described |= {
        "platform": platform,
        "annotations": {"org.opencontainers.image.ref.name": arguments.version},
    }
    layout.write("index.json", {
        "schemaVersion": 2,
        "mediaType": f"{kind}.index.v1+json",
        "manifests": [described],
    })
    return described["digest"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=pathlib.Path, required=True)
    parser.add_argument("--arch", choices=ARCHITECTURES, required=True)
    parser.add_argument("--version", required=True)
    parser.add_argument("--epoch", type=int, required=True)
    parser.add_argument("--licenses", required=True)
    parser.add_argument("--label", action="append", default=[])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    print(image(parser.parse_args()))


if __name__ == "__main__":
    main()
