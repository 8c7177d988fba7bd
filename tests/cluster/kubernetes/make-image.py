#!/usr/bin/env python3
"""Makes a one-layer OCI image from local files, with nothing but Python; the same input gives the same bytes.

make-image.py -o out.tar -t NAME:TAG [-e ENTRYPOINT] [-c ARGUMENT] [-u UID:GID] [-p PORT/tcp] SOURCE:DESTINATION...
SOURCE is a file or a folder; link=TARGET:DESTINATION makes a symbolic link.
"""
import argparse
import gzip
import hashlib
import io
import json
import os
import platform
import tarfile

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
SEARCH_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Layer:
    def __init__(self):
        self.buffer = io.BytesIO()
        self.folders = set()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w", format=tarfile.PAX_FORMAT)

    def add_parents(self, path):
        folder = os.path.dirname(path)
        if folder and folder not in self.folders:
            self.add_parents(folder)
            self.add_folder(folder)

    def add_folder(self, path):
        self.folders.add(path)
        entry = tarfile.TarInfo(path)
        entry.type = tarfile.DIRTYPE
        entry.mode = 0o1777 if path == "tmp" else 0o755
        self.tar.addfile(entry)

    def add(self, source, destination):
        destination = destination.strip("/")
        self.add_parents(destination)
        entry = tarfile.TarInfo(destination)
        if source.startswith("link="):
            entry.type, entry.linkname = tarfile.SYMTYPE, source[len("link="):]
            self.tar.addfile(entry)
        elif os.path.isdir(source):
            if destination not in self.folders:
                self.add_folder(destination)
            for name in sorted(os.listdir(source)):
                self.add(os.path.join(source, name), f"{destination}/{name}")
        else:
            entry.size = os.path.getsize(source)
            entry.mode = os.stat(source).st_mode & 0o7777
            with open(source, "rb") as content:
                self.tar.addfile(entry, content)

    def bytes(self):
        self.tar.close()
        return self.buffer.getvalue()


def digest(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def descriptor(media_type, data, **more):
    return {"mediaType": f"application/vnd.oci.image.{media_type}", "digest": digest(data), "size": len(data), **more}


def write(options):
    layer = Layer()
    for item in options.files:
        layer.add(*item.rsplit(":", 1))
    raw = layer.bytes()
    blob = gzip.compress(raw, 6, mtime=0)
    architecture = ARCHITECTURES[platform.machine()]
    settings = {"Entrypoint": options.e, "Cmd": options.c, "User": options.u, "Env": [SEARCH_PATH],
                "ExposedPorts": {port: {} for port in options.p}}
    config = json.dumps({"architecture": architecture, "os": "linux", "created": "1970-01-01T00:00:00Z",
                         "config": {key: value for key, value in settings.items() if value},
                         "rootfs": {"type": "layers", "diff_ids": [digest(raw)]}}).encode()
    manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                           "config": descriptor("config.v1+json", config),
                           "layers": [descriptor("layer.v1.tar+gzip", blob)]}).encode()
    names = {"io.containerd.image.name": options.t, "org.opencontainers.image.ref.name": options.t}
    index = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
        descriptor("manifest.v1+json", manifest, platform={"architecture": architecture, "os": "linux"}, annotations=names)]}).encode()
    files = {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": index}
    files.update({"blobs/sha256/" + hashlib.sha256(data).hexdigest(): data for data in (config, manifest, blob)})
    with tarfile.open(options.o, "w") as output:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            output.addfile(entry, io.BytesIO(data))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", required=True)
    parser.add_argument("-t", required=True)
    parser.add_argument("-e", action="append", default=[])
    parser.add_argument("-c", action="append", default=[])
    parser.add_argument("-u", default="")
    parser.add_argument("-p", action="append", default=[])
    parser.add_argument("files", nargs="*")
    write(parser.parse_args())


if __name__ == "__main__":
    main()
