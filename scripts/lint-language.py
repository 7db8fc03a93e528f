#!/usr/bin/env python3
"""Checks the language of comments, help, errors and Markdown.

Three rules, each reported as `file:line: rule: "text"; better: …`:

  headless   a sentence of a doc comment or a heading that starts with What, Who, Whose, Which,
             Where, As or Of and has no main clause
  term       a word for which the project has a better one
  citation   a document that is not in the repository, or in the lists of docs/reliability.md and
             docs/testing.md a test that does not exist

Code in backticks is exempt, because names on the wire are not ours to choose.

Usage: lint-language.py [--summary] [--paths PATH …]
"""

import argparse
import bisect
import functools
import pathlib
import re
import subprocess
import sys
from collections import Counter
from typing import Iterator, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEFAULT_PATHS = [
    "src", "tests", "web/src", "templates", "docs", "scripts", "docker", "Makefile", "Cargo.toml",
    "build.rs", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md",
]
# This file and its tests quote what they forbid.
SKIPPED = re.compile(r"(^|/)(lint-language|lint-language-test)\.py$|^tests/data/|\.lock$")

# Sentences that are fine although they look headless. Keep this list short.
ALLOWED = {
    "who may import whom",  # read by tests/architecture.rs
    "where things go",
}

TERMS = [
    # (pattern, better, exceptions)
    (r"\bpictures? and (?:the )?sounds?\b", "video and audio", None),
    (r"\bpictures? (?:a|per) second\b", "frames per second, fps", None),
    (r"\bpictures?\b(?!-)", "frame(s); image for a thumbnail",
     r"(?i)picture[- ]in[- ]picture|picture (?:id|parameter|order|timing|header)|coded picture"),
    (r"\bsound (?:server|of a room)s?\b|\ba room's sound\b", "audio server, room audio", None),
    (r"\b(?:is|are|was|were|be|been|being|gets?) told\b", "is reported, is notified", None),
    (r"\b(?:is|are|was|were) none\b", "missing, absent", None),
    # "There is no event for it" is plain; "this is no event" is not.
    (r"(?<!\bthere )\b(?:is|are|was|were) no (?!longer\b|more\b|less\b|later\b|earlier\b|greater\b|other\b)",
     "is not a …, has no …, … is missing", None),
    (r"\b(?:can't|cannot|can not|could not|couldn't) be had\b", "unavailable, unreachable", None),
    (r"\bmakes? no sense\b", "invalid", None),
    (r"\bcrystals?\b", "clock", None),
    (r"\bnothing moves\b", "static page, no changes", None),
    (r"\b(?:kept|keeps?|keeping) apart\b", "separate", None),
    (r"\bwhat (?:was|is|were) asked for\b", "the request", None),
    (r"\b(?:made|makes?|making|is|are|be|been|becomes?) whole\b", "finalized, finalize", None),
    (r"\b(?:takes?|took) no harm\b", "is not affected", None),
]
TERMS = [(re.compile(p, re.I), better, re.compile(e) if e else None) for p, better, e in TERMS]

# Code is masked with `X`, so a sentence may also begin with it.
SENTENCE_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!\betc)[.!?:](?=[\s)*]+(?:[A-Z\"(*\[]|$))|$")
HEADLESS = re.compile(r"(What|Who|Whose|Whom|Which|Whoever|Whatever|Where|As|Of)\b(?!')")
BETTER_HEAD = "begin with the subject and say what it is or does"

# Documents outside of the repository, cited with a section.
FOREIGN = re.compile(r"\b(?:service|media|webrtc|style|words|parity)\.md\s*§|\bdesign,? §\s*\d", re.I)
DOCUMENT = re.compile(r"(?<![\w/.:{<-])((?:\.\.?/)*[\w-][\w./-]*\.md)\b")
DOCS_PATH = re.compile(r"(?<![\w/.-])(docs/[\w./-]*\w)(?![\w*{]|\.[*{])")
LINK = re.compile(r"\]\(([^)\s]+)\)")
# These pages name tests; such a name has at least four words.
NAMES_TESTS = ("docs/reliability.md", "docs/testing.md")
TEST_NAME = re.compile(r"`([a-z0-9]+(?:_[a-z0-9]+){3,})(…?)`")
URL = re.compile(r"\b[a-z][a-z0-9+.-]*://\S+")


class Text(NamedTuple):
    """A run of prose: its kind (doc, comment, string, heading, prose), and each piece's line."""

    kind: str
    pieces: list  # of (line number, text)


class Finding(NamedTuple):
    path: str
    line: int
    rule: str
    text: str
    better: str

    def __str__(self):
        return f'{self.path}:{self.line}: {self.rule}: "{self.text}"; better: {self.better}'


# ---- Reading files


def rust(source: str) -> Iterator[Text]:
    """Comments and string literals of Rust."""
    run: list = []
    kind = ""
    starts = [0] + [m.end() for m in re.finditer("\n", source)]
    line_of = functools.partial(bisect.bisect_right, starts)
    last_line = 0
    token = re.compile(
        r"(?P<line>//[^\n]*)|(?P<block>/\*.*?\*/)"
        r'|b?r(?P<hashes>#*)"(?P<raw>.*?)"(?P=hashes)'
        r'|b?"(?P<string>(?:[^"\\]|\\.)*)"'
        r"|'(?:[^'\\\n]|\\[^\n]{1,10}?)'",
        re.S,
    )
    for match in token.finditer(source):
        line = line_of(match.start())
        if match["line"] is not None:
            text = match["line"]
            this = "doc" if re.match(r"//[/!](?!/)", text) else "comment"
            own_line = not source[starts[line - 1]:match.start()].strip()
            body = re.sub(r"^//[/!]?", "", text).strip()
            if run and (line != last_line + 1 or this != kind or not own_line):
                yield Text(kind, run)
                run = []
            if body:
                run.append((line, body))
            elif run:
                yield Text(kind, run)
                run = []
            kind, last_line = this, line
        elif match["string"] is not None or match["raw"] is not None:
            text = match["string"] if match["string"] is not None else match["raw"]
            text = re.sub(r"\\\n\s*", "", text)
            if " " in text:
                yield Text("string", [(line, " ".join(text.split()))])
    if run:
        yield Text(kind, run)


def typescript(source: str) -> Iterator[Text]:
    """Comments and string literals of TypeScript and CSS."""
    starts = [0] + [m.end() for m in re.finditer("\n", source)]
    line_of = functools.partial(bisect.bisect_right, starts)
    run: list = []
    last_line = 0
    token = re.compile(
        r"(?P<line>(?<!:)//[^\n]*)|/\*(?P<block>.*?)\*/"
        r"|\"(?P<double>(?:[^\"\\\n]|\\.)*)\"|'(?P<single>(?:[^'\\\n]|\\.)*)'|`(?P<tick>(?:[^`\\]|\\.)*)`",
        re.S,
    )
    for match in token.finditer(source):
        line = line_of(match.start())
        if match["line"] is not None:
            body = match["line"][2:].strip()
            if run and line != last_line + 1:
                yield Text("comment", run)
                run = []
            if body:
                run.append((line, body))
            last_line = line
            continue
        if match["block"] is not None:
            lines = [re.sub(r"^\s*\*+ ?", "", part).strip("* ") for part in match["block"].split("\n")]
            kind = "doc" if match["block"].startswith("*") else "comment"
            pieces: list = []
            for number, part in enumerate(lines):
                if part.strip():
                    pieces.append((line + number, part.strip()))
                elif pieces:
                    yield Text(kind, pieces)
                    pieces = []
            if pieces:
                yield Text(kind, pieces)
            continue
        text = match["double"] or match["single"] or match["tick"] or ""
        if " " in text:
            yield Text("string", [(line, " ".join(text.split()))])
    if run:
        yield Text("comment", run)


def hashes(source: str) -> Iterator[Text]:
    """Comments that begin with `#`: shell, Python, YAML, TOML, make. `##` in a Makefile is help."""
    run: list = []
    for number, line in enumerate(source.split("\n"), 1):
        match = re.match(r"\s*#(?!!)\s?(.*)", line) or re.match(r"[^\"'#]*\s##? (.*)", line)
        body = match[1].strip("# ") if match else ""
        if body:
            run.append((number, body))
            if re.match(r"[\w.-]+:.*##", line):
                yield Text("doc", run[-1:])
                run.pop()
        elif run:
            yield Text("comment", run)
            run = []
    if run:
        yield Text("comment", run)


def markdown(source: str) -> Iterator[Text]:
    """Headings and prose, without fenced code."""
    run: list = []
    fenced = False
    for number, line in enumerate(source.split("\n"), 1):
        if re.match(r"\s*(```|~~~)", line):
            fenced = not fenced
            line = ""
        elif fenced:
            continue
        heading = re.match(r"#{1,6}\s+(.*)", line)
        cells = line.lstrip().startswith("|")
        item = re.match(r"\s*(?:[-*+]|\d+\.)\s+(.*)", line)
        if run and (heading or cells or item or not line.strip()):
            yield Text("prose", run)
            run = []
        if heading:
            yield Text("heading", [(number, heading[1])])
        elif cells:
            yield Text("prose", [(number, line.strip(" |"))])
        elif line.strip():
            run.append((number, (item[1] if item else line).strip()))
    if run:
        yield Text("prose", run)


READERS = {
    ".rs": rust, ".ts": typescript, ".css": typescript, ".md": markdown, ".sh": hashes, ".py": hashes,
    ".yaml": hashes, ".yml": hashes, ".toml": hashes, "Makefile": hashes, "Dockerfile": hashes,
}


# ---- Rules


def without_code(text: str) -> str:
    """Backticked code becomes a neutral word, so that sentences keep their shape."""
    return re.sub(r"`[^`]*`", "X", text)


def sentences(text: Text) -> Iterator[tuple]:
    """Each sentence with the line it starts on."""
    whole, offsets = "", []
    for line, piece in text.pieces:
        offsets.append((len(whole), line))
        whole += piece + " "
    masked = re.sub(r"`[^`]*`", lambda m: "X" * len(m[0]), whole)
    start = 0
    for end in SENTENCE_END.finditer(masked):
        sentence = whole[start:end.end()].strip(" *_-)(")
        if sentence:
            first = start + len(whole[start:]) - len(whole[start:].lstrip())
            line = [number for offset, number in offsets if offset <= first][-1]
            yield line, sentence
        start = end.end()


def is_headless(sentence: str) -> bool:
    """Whether a sentence starts with a relative word and has no main clause after it."""
    sentence = without_code(sentence)
    match = HEADLESS.match(sentence)
    if not match or sentence.endswith("?") or sentence.lower().rstrip(".") in ALLOWED:
        return False
    word, rest = match[1], sentence[match.end():]
    if word in ("Where", "As", "Of", "Whatever"):
        # "Where X, Y verb": the main clause stands after the comma.
        head, comma, tail = rest.partition(",")
        if word == "As" and re.match(r"\s+(?:soon|long|far|many|much|often)\b.* (?:as|it|the)\b", rest):
            return False
        return not comma or bool(re.match(r"\s*(?:what|which|who|whose|where|and|or|as|how)\b", tail))
    return True


def find_terms(text: str) -> Iterator[tuple]:
    bare = without_code(text)
    for pattern, better, exceptions in TERMS:
        checked = exceptions.sub("X", bare) if exceptions else bare
        match = pattern.search(checked)
        if match:
            yield match[0], better
            # "pictures a second" is one finding, not two.
            bare = bare.replace(match[0], "X", 1)


def find_citations(text: str, path: pathlib.PurePath, exists) -> Iterator[str]:
    """Documents that `text` in `path` names and that do not exist."""
    foreign = FOREIGN.search(text)
    if foreign:
        yield foreign[0]
        return
    bare = URL.sub("", text)
    names = {match[1] for pattern in (DOCUMENT, DOCS_PATH) for match in pattern.finditer(bare)}
    for name in sorted(names):
        places = [path.parent / name, pathlib.PurePath(name), pathlib.PurePath("docs") / name]
        if not any(exists(place) for place in places):
            yield name
    if path.suffix == ".md":
        for match in LINK.finditer(bare):
            name = match[1].partition("#")[0]
            if name and not name.endswith(".md") and not re.match(r"[a-z]+:", name) and not exists(path.parent / name):
                yield name


def find_lost_tests(text: str, functions) -> Iterator[str]:
    """Tests that `text` names and that are not among `functions`. `name…` stands for a beginning."""
    for name, rest in TEST_NAME.findall(text):
        if not (any(f.startswith(name) for f in functions) if rest else name in functions):
            yield name + rest


@functools.cache
def functions_of_the_repository(root: pathlib.Path) -> frozenset:
    listed = subprocess.run(["git", "grep", "-hoE", r"fn [a-z0-9_]+", "--", "src", "tests"], cwd=root, capture_output=True, text=True)
    return frozenset(line[3:] for line in listed.stdout.splitlines())


def exists_in_repository(place: pathlib.PurePath) -> bool:
    return (ROOT / place).exists()


def check(path: str, source: str, exists=exists_in_repository, functions=None) -> list:
    """All findings in one file."""
    pure = pathlib.PurePosixPath(path)
    reader = READERS.get(pure.suffix) or READERS.get(pure.name)
    if not reader:
        return []
    findings = []
    if path in NAMES_TESTS:
        functions = functions if functions is not None else functions_of_the_repository(ROOT)
        for number, line in enumerate(source.split("\n"), 1):
            for name in find_lost_tests(line, functions):
                findings.append(Finding(path, number, "citation", name, "the test's current name"))
    is_test = path.startswith("tests/") or "/tests/" in path or path.endswith(("tests.rs", ".test.ts"))
    for text in reader(source):
        if text.kind in ("doc", "heading"):
            for line, sentence in sentences(text):
                if is_headless(sentence):
                    findings.append(Finding(path, line, "headless", shorten(sentence), BETTER_HEAD))
        # A test's strings may quote what others say.
        if not (text.kind == "string" and is_test):
            for line, sentence in sentences(text):
                for found, better in find_terms(sentence):
                    findings.append(Finding(path, line, "term", excerpt(sentence, found), better))
        if text.kind != "string":
            for line, piece in text.pieces:
                for name in find_citations(piece, pure, exists):
                    findings.append(Finding(path, line, "citation", name, "the fact in a few words, docs/reference/*.md, an RFC or a URL"))
    return findings


def excerpt(sentence: str, found: str, around: int = 30) -> str:
    """`found` with some of its sentence around it."""
    at = sentence.find(found)
    if at < 0:
        return found
    begin, end = max(0, at - around), at + len(found) + around
    return ("…" if begin else "") + sentence[begin:end] + ("…" if end < len(sentence) else "")


def shorten(text: str, width: int = 90) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


# ---- Command line


def folder(path: str) -> str:
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] in ("src", "tests") and len(parts) > 2 else parts[0]


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the language of comments, help, errors and Markdown.")
    parser.add_argument("--paths", nargs="+", default=DEFAULT_PATHS, help="files and folders to check")
    parser.add_argument("--summary", action="store_true", help="print counts for each folder, too")
    parser.add_argument("--root", type=pathlib.Path, help="check another checkout")
    arguments = parser.parse_args()
    global ROOT
    ROOT = (arguments.root or ROOT).resolve()
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--", *arguments.paths], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    findings = []
    for path in filter(None, listed.split("\0")):
        if SKIPPED.search(path) or not (ROOT / path).is_file():
            continue
        try:
            findings += check(path, (ROOT / path).read_text(encoding="utf-8"))
        except UnicodeDecodeError:
            continue
    for finding in findings:
        print(finding)
    if arguments.summary:
        counts = Counter((folder(f.path), f.rule) for f in findings)
        print(f"\n{'folder':<28}{'headless':>10}{'term':>10}{'citation':>10}")
        for name in sorted({name for name, _ in counts}):
            print(f"{name:<28}" + "".join(f"{counts[name, rule]:>10}" for rule in ("headless", "term", "citation")))
    if findings:
        print(f"{len(findings)} findings", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
