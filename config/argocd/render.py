#!/usr/bin/env python3
"""Prints argocd-cm.yaml: the scripts of this folder as the settings that Argo CD reads from its ConfigMap argocd-cm."""
import pathlib

HERE = pathlib.Path(__file__).parent
KINDS = ["RocketMQConnection", "RocketMQBinding", "RocketMQSync"]
ACTIONS = {"RocketMQConnection": ["test", "load-models", "pause", "resume"]}


def block(text, indent):
    return "".join(" " * indent + line + "\n" if line else "\n" for line in text.rstrip("\n").split("\n"))


print("# Written by render.py from the scripts beside it. Merge it into Argo CD's ConfigMap:")
print("#   kubectl patch configmap argocd-cm -n argocd --patch-file config/argocd/argocd-cm.yaml")
print("data:")
for kind in KINDS:
    name = f"connector.rocketmq.dev_{kind}"
    print(f"  resource.customizations.health.{name}: |")
    print(block((HERE / "health.lua").read_text(), 4), end="")
    print(f"  resource.customizations.actions.{name}: |")
    print("    discovery.lua: |")
    print(block((HERE / "actions/discovery.lua").read_text(), 6), end="")
    print("    definitions:")
    for action in ACTIONS.get(kind, ["pause", "resume"]):
        print(f"    - name: {action}")
        print("      action.lua: |")
        print(block((HERE / f"actions/{action}.lua").read_text(), 8), end="")
