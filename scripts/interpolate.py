"""Fills a compose file's variables in from a `.env`, as Docker Compose does: ${NAME}, ${NAME:-default}, ${NAME:?}, $$.

    interpolate.py compose.yaml .env

The program that checks the result is compose-go's own, which looks at no environment. What the configurations inside of it
are is checked here: YAML, or JSON, which is YAML.
"""

import re
import sys

import yaml

text, env = (open(name, encoding="utf-8").read() for name in sys.argv[1:3])
values = dict(line.split("=", 1) for line in env.splitlines() if line and not line.startswith("#"))


def value(found: re.Match) -> str:
    if found[0] == "$$":
        return found[0]
    name, kind, default = found[1], found[2], found[3]
    if name not in values and kind != ":-":
        sys.exit(f"{sys.argv[1]}: {name} is not in {sys.argv[2]}")
    return values.get(name) or default or ""


text = re.sub(r"\$\$|\$\{(\w+)(?:(:[-?])([^}]*))?\}", value, text)
for name, config in yaml.safe_load(text)["configs"].items():
    if not isinstance(yaml.safe_load(config["content"]), dict):
        sys.exit(f"{sys.argv[1]}: the configuration {name} is no mapping")
print(text)
