"""Configurations of sync workers, as the operator writes them, for benchmarks."""

import os
import pathlib


def database(folder, host, port):
    """A server of tests/cluster/databases whose `env` is exported; its credentials go into files of the folder."""
    paths = {}
    for name, value in [("username", os.environ["APP_USER"]), ("password", os.environ["APP_PASSWORD"])]:
        paths[name] = pathlib.Path(folder) / name
        paths[name].write_text(value)
    return {"host": host, "port": port, "database": os.environ["DATABASE"], "usernameFile": str(paths["username"]), "passwordFile": str(paths["password"])}


def topic(cluster, name, group):
    """A topic as target."""
    return {"rocketMq": {"cluster": cluster, "topic": name, "group": group, "createTopics": False, "clusterId": "target"}}


def worker(identity_name, name, admin_port, source, target, form, **more):
    """A sync with what a RocketMQSync has when its manifest says nothing."""
    return {
        "version": 1,
        "identity": {"kind": "RocketMQSync", "namespace": "bench", "name": identity_name, "generation": 1},
        "admin": {"host": "127.0.0.1", "port": admin_port},
        "role": {"sync": {
            "name": name, "source": source, "target": target, "mode": "Incremental", "format": form,
            "batch": {"maxRecords": 500, "maxBytes": 1 << 20, "maxWaitMillis": 100},
            "write": {"insert": "Update", "update": "Insert", "delete": "Ignore"},
            "errors": {"retryIntervalMillis": 60000, "onInvalid": "stop"},
            **more,
        }},
    }
