#!/usr/bin/env python3
"""Tests of lint-language.py, with good and bad examples of each rule."""

import importlib.util
import pathlib
import unittest

spec = importlib.util.spec_from_file_location(
    "lint_language", pathlib.Path(__file__).with_name("lint-language.py")
)
lint = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lint)

DOCUMENTS = {"docs/storage.md", "docs/reference/egress.md", "README.md"}


def found(path, source):
    """The rules that `source` breaks, with their lines."""
    findings = lint.check(path, source, exists=lambda place: str(place) in DOCUMENTS)
    return [(finding.rule, finding.line) for finding in findings]


class Headless(unittest.TestCase):
    def test_a_relative_clause_alone_is_headless(self):
        for text in [
            "What no store takes is kept.",
            "Who may call.",
            "Whose clock is off.",
            "Which tracks are wanted",
            "Where outputs are stored:",
            "As `Storage` has it.",
            "Of several providers the first one counts.",
            "Where it is, what it is called, and who may read it",
        ]:
            self.assertEqual(found("src/a.rs", f"/// {text}\n"), [("headless", 1)], text)

    def test_a_main_clause_is_not(self):
        for text in [
            "Files that no storage accepts are kept.",
            "Where the request says nothing, the default applies.",
            "As the server closes the connection, the sink reconnects.",
            "As long as the room is open the recording continues.",
            "Of two equal entries, the later one wins.",
            "What's new in this version",
            "Which containers hold AV1?",
            "Asks the server again.",
            "Often enough for the meter.",
        ]:
            self.assertEqual(found("src/a.rs", f"/// {text}\n"), [], text)

    def test_every_sentence_of_a_paragraph_counts(self):
        source = "/// Uploads files.\n/// They are kept. What is\n/// left is deleted.\nfn upload() {}\n"
        self.assertEqual(found("src/a.rs", source), [("headless", 2)])

    def test_a_line_that_continues_a_sentence_does_not(self):
        self.assertEqual(found("src/a.rs", "/// Says of a file\n/// Where it is and\n/// As what.\n"), [])

    def test_headings_and_the_help_of_make_count(self):
        self.assertEqual(found("docs/a.md", "# Who may call\n\nWho calls needs a token.\n"), [("headless", 1)])
        self.assertEqual(found("Makefile", "check: build ## What has to hold\n"), [("headless", 1)])

    def test_comments_inside_of_code_do_not(self):
        self.assertEqual(found("src/a.rs", "// What follows is slow.\n"), [])


class Terms(unittest.TestCase):
    def test_banned_terms_are_found(self):
        for text in [
            "Drops a picture.",
            "Thirty pictures a second.",
            "Starts the sound server.",
            "The service is told.",
            "There is none.",
            "This is no job.",
            "The server can't be had.",
            "That makes no sense.",
            "Corrects the crystal's drift.",
            "Nothing moves.",
            "They are kept apart.",
            "The file is made whole.",
        ]:
            self.assertEqual(found("src/a.rs", f"// {text}\n"), [("term", 1)], text)

    def test_the_fields_words_are_not(self):
        for text in [
            "Drops a frame at 30 fps.",
            "Shows a picture-in-picture layout.",
            "VP8's picture id changes.",
            "The track is no longer subscribed.",
            "This is not a job.",
            "There is no event for it.",
            "Reads `picture_width` of the request.",
        ]:
            self.assertEqual(found("src/a.rs", f"// {text}\n"), [], text)

    def test_strings_count_except_in_tests(self):
        source = 'const HELP: &str = "there is none";\n'
        self.assertEqual(found("src/a.rs", source), [("term", 1)])
        self.assertEqual(found("src/a/tests.rs", source), [])
        self.assertEqual(found("tests/it/a.rs", source), [])
        self.assertEqual(found("src/a.rs", 'const RAW: &str = r#"a " picture here"#;\n'), [("term", 1)])

    def test_a_comment_in_a_string_is_no_comment(self):
        self.assertEqual(found("src/a.rs", 'const URL: &str = "http://picture";\n'), [])

    def test_code_in_markdown_is_exempt(self):
        self.assertEqual(found("docs/a.md", "```\npicture\n```\n\nUse `picture`.\n"), [])
        self.assertEqual(found("docs/a.md", "| picture | yes |\n"), [("term", 1)])

    def test_each_language_is_read(self):
        self.assertEqual(found("web/src/a.ts", "/**\n * Draws.\n * A picture.\n */\n"), [("term", 3)])
        self.assertEqual(found("web/src/a.ts", "show('there is none');\n"), [("term", 1)])
        self.assertEqual(found("scripts/a.sh", "#!/bin/sh\n# A picture.\n"), [("term", 2)])
        self.assertEqual(found("docker/a.yaml", "a: 1 # a picture\n"), [("term", 1)])


class Citations(unittest.TestCase):
    def test_documents_that_are_missing_are_found(self):
        for text in ["(service.md §3.7)", "see design §4", "docs/gone.md", "`NOTES.md` has it"]:
            self.assertEqual(found("src/a.rs", f"/// Retries {text}.\n"), [("citation", 1)], text)

    def test_documents_of_the_repository_are_not(self):
        for text in ["docs/storage.md", "README.md", "docs/reference/egress.md", "https://a.example/b.md"]:
            self.assertEqual(found("src/a.rs", f"/// Retries, see {text}.\n"), [], text)

    def test_links_are_relative_to_their_file(self):
        self.assertEqual(found("docs/a.md", "See [storage](storage.md#s3).\n"), [])
        self.assertEqual(found("docs/a.md", "See [storage](gone.md).\n"), [("citation", 1)])
        self.assertEqual(found("docs/a.md", "![chart](gone.svg)\n"), [("citation", 1)])


    def test_tests_that_are_gone_are_found(self):
        def lost(text):
            return list(lint.find_lost_tests(text, {"a_killed_recorder_is_reported", "a_page_is_recorded_at_length"}))

        self.assertEqual(lost("| `a_killed_recorder_is_reported`, `a_page_is_recorded…` | `orphan_timeout` |"), [])
        self.assertEqual(lost("`a_killed_recorder_is_told`"), ["a_killed_recorder_is_told"])


class Output(unittest.TestCase):
    def test_a_finding_names_place_text_and_better_word(self):
        finding = lint.check("src/a.rs", "// The service is told.\n")[0]
        self.assertEqual(
            str(finding), 'src/a.rs:1: term: "The service is told."; better: is reported, is notified'
        )

    def test_folders_are_counted_below_src_and_tests(self):
        self.assertEqual(lint.folder("src/sink/stream/a.rs"), "src/sink")
        self.assertEqual(lint.folder("src/bus.rs"), "src")
        self.assertEqual(lint.folder("docs/reference/a.md"), "docs")


if __name__ == "__main__":
    unittest.main()
