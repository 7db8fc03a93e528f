# Runs a command as a container engine would: under a seccomp profile, without a capability, without a way to get one.
#
#     confined.py PROFILE.json PROGRAM [ARGUMENT…]
#
# (Debian's python3-seccomp.) What the engine would pick out of the profile for a container that has dropped all capabilities
# is picked here.
import json
import os
import platform
import sys

import seccomp

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
COMPARE = {
    "SCMP_CMP_EQ": seccomp.EQ,
    "SCMP_CMP_NE": seccomp.NE,
    "SCMP_CMP_LT": seccomp.LT,
    "SCMP_CMP_MASKED_EQ": seccomp.MASKED_EQ,
}


def action(name, errno):
    return seccomp.ALLOW if name == "SCMP_ACT_ALLOW" else seccomp.ERRNO(errno)


def meant(rule):
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if includes.get("caps") or ARCHITECTURE in excludes.get("arches", []):
        return False
    return not includes.get("arches") or ARCHITECTURE in includes["arches"]


def argument(arg):
    # For a masked comparison, `value` is the mask.
    values = [arg["value"]] + ([arg.get("valueTwo", 0)] if arg["op"] == "SCMP_CMP_MASKED_EQ" else [])
    return seccomp.Arg(arg["index"], COMPARE[arg["op"]], *values)


profile = json.load(open(sys.argv[1], encoding="utf-8"))
found = seccomp.SyscallFilter(action(profile["defaultAction"], profile["defaultErrnoRet"]))
found.set_attr(seccomp.Attr.CTL_NNP, 1)
for rule in filter(meant, profile["syscalls"]):
    for name in rule["names"]:
        # One that this architecture or this libseccomp does not have; engines leave such out, too.
        if seccomp.resolve_syscall(seccomp.Arch(), name) < 0:
            continue
        what = action(rule["action"], rule.get("errnoRet", 1))
        found.add_rule(what, name, *map(argument, rule.get("args") or []))
found.load()
os.execvp(sys.argv[2], sys.argv[2:])
