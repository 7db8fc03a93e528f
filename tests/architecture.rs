//! Holds the sources to the table "Who may import whom" of `ARCHITECTURE.md`, and to the absences
//! that it names.
//!
//! A module of the unit tests (see `src/lib.rs`): it only reads files, so `make check` runs it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// One source file, without comments, literals and its unit tests.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    /// Its place in the crate: `["source", "web", "capture"]`.
    module: Vec<String>,
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let stem = path.trim_end_matches(".rs");
        let module = if stem == "lib" { Vec::new() } else { stem.split('/').map(str::to_owned).collect() };
        Self { path: path.into(), module, code: without_tests(&bare(text)) }
    }

    fn all() -> Vec<Self> {
        // Unit tests may use what they like.
        let files = files().into_iter().filter(|(name, _)| !has_part(name, "tests"));
        files.map(|(name, text)| Self::new(&name, &text)).collect()
    }

    fn top(&self) -> &str {
        self.module.first().map_or("lib", String::as_str)
    }

    /// The top-level modules of ours that its code names.
    fn imports(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for (at, _) in self.code.match_indices("crate::") {
            if !self.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
                found.extend(heads(&self.code[at + "crate::".len()..]));
            }
        }
        // As many `super` as there are parents lead to the crate's root.
        let climb = "super::".repeat(self.module.len());
        if !climb.is_empty() {
            for (at, _) in self.code.match_indices(&climb) {
                if !self.code[..at].ends_with("super::") {
                    found.extend(heads(&self.code[at + climb.len()..]));
                }
            }
        }
        found.remove(self.top());
        found
    }
}

/// Name below `src` and text of each source file.
fn files() -> Vec<(String, String)> {
    let root = Path::new(ROOT).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.push((name, fs::read_to_string(&path).unwrap()));
            }
        }
    }
    assert!(found.len() > 10, "the sources are in {}", root.display());
    found
}

/// Whether a module of this name is on the way to a file: `tests` is on the way to
/// `process/tests/with_processes.rs`.
fn has_part(file: &str, module: &str) -> bool {
    file.trim_end_matches(".rs").split('/').any(|part| part == module)
}

/// The first segment of each path that begins here: one, or those of a `{group}`.
fn heads(code: &str) -> Vec<String> {
    let Some(group) = code.strip_prefix('{') else {
        return head(code).into_iter().collect();
    };
    let (mut depth, mut found, mut fresh) = (0, Vec::new(), true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                found.extend(head(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    found
}

/// A module's name; types and functions of the crate's root have none.
fn head(code: &str) -> Option<String> {
    let name: String = code.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    name.starts_with(|c: char| c.is_lowercase()).then_some(name)
}

/// Code with blanks in place of comments and literals.
fn bare(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let identifier = code.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if c == '"' {
            literal_end(rest)
        } else if let Some(hashes) = raw_string(rest).filter(|_| !identifier) {
            let close = format!("\"{}", "#".repeat(hashes));
            let open = hashes + 2;
            rest[open..].find(&close).map_or(rest.len(), |end| open + end + close.len())
        } else if c == '\'' {
            char_end(rest)
        } else {
            0
        };
        if skip == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.extend(rest[..skip].chars().filter(|c| *c == '\n').chain([' ']));
            rest = &rest[skip..];
        }
    }
    code
}

fn literal_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string(text: &str) -> Option<usize> {
    let after = text.strip_prefix('r')?;
    let hashes = after.chars().take_while(|c| *c == '#').count();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// Length of a character literal; 0 for a lifetime.
fn char_end(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match chars.next() {
        Some((_, '\\')) => text[3..].find('\'').map_or(0, |end| end + 4),
        Some(_) => chars.next().filter(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 1),
        None => 0,
    }
}

/// Code up to its unit tests, which stand last in a file.
fn without_tests(code: &str) -> String {
    code[..start_of_tests(code)].to_owned()
}

fn start_of_tests(code: &str) -> usize {
    let start = code.match_indices("#[cfg(test)]").find(|(at, mark)| {
        code[at + mark.len()..].trim_start().trim_start_matches("pub(crate) ").starts_with("mod ")
    });
    start.map_or(code.len(), |(at, _)| at)
}

/// The modules that each module may import; `None` allows all.
type Table = BTreeMap<String, Option<BTreeSet<String>>>;

fn table(document: &str) -> Table {
    let mut table = Table::new();
    let names =
        |cell: &str| -> BTreeSet<String> { cell.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let (_, section) = document.split_once("## Who may import whom").expect("the table's heading");
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [modules, allowed] = cells[..] else { panic!("a row of two cells: {row}") };
        let allowed = match allowed {
            "anything" => None,
            "nothing" => Some(BTreeSet::new()),
            "all above" => Some(table.keys().cloned().collect()),
            list => Some(names(list)),
        };
        for module in names(modules) {
            assert!(table.insert(module.clone(), allowed.clone()).is_none(), "`{module}` has two rows");
        }
    }
    table
}

fn breaches(source: &Source, table: &Table) -> Vec<String> {
    let path = source.path.display();
    match table.get(source.top()) {
        None if source.top() == "lib" => Vec::new(),
        None => vec![format!("{path}: `{}` has no row in ARCHITECTURE.md's table", source.top())],
        Some(None) => Vec::new(),
        Some(Some(allowed)) => source
            .imports()
            .difference(allowed)
            .map(|import| format!("{path}: `{}` may not import `{import}`", source.top()))
            .collect(),
    }
}

#[test]
fn modules_import_only_what_the_table_allows() {
    let document = fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).unwrap();
    let table = table(&document);
    let sources = Source::all();
    let found: Vec<String> = sources.iter().flat_map(|source| breaches(source, &table)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
    for module in table.keys() {
        assert!(sources.iter().any(|source| source.top() == module), "`{module}` of the table is no module");
    }
}

#[test]
fn the_table_has_no_cycle() {
    let document = fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).unwrap();
    let mut left: BTreeMap<_, _> =
        table(&document).into_iter().filter_map(|(module, allowed)| Some((module, allowed?))).collect();
    while !left.is_empty() {
        let free: Vec<String> = left
            .iter()
            .filter(|(_, allowed)| allowed.iter().all(|import| !left.contains_key(import)))
            .map(|(module, _)| module.clone())
            .collect();
        assert!(!free.is_empty(), "these import one another: {:?}", left.keys());
        free.iter().for_each(|module| drop(left.remove(module)));
    }
}

/// Finds every word of a list in the code of files that must not have it.
fn mentions(words: &[&str], concerned: impl Fn(&Source) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for source in Source::all().iter().filter(|source| concerned(source)) {
        for word in words.iter().filter(|word| source.code.contains(**word)) {
            found.push(format!("{}: {word}", source.path.display()));
        }
    }
    found
}

#[test]
fn planning_does_no_io() {
    let io = [
        "tokio",
        "gstreamer",
        "std::fs",
        "std::net",
        "std::process",
        "std::thread",
        "std::env",
        "Instant::now",
        "SystemTime",
        "Timestamp::now",
        "Zoned::now",
        "rand::",
    ];
    let found = mentions(&io, |source| source.top() == "plan");
    assert!(found.is_empty(), "plan is pure, same input, same plan:\n{}", found.join("\n"));
}

#[test]
fn process_alone_spawns() {
    let found =
        mentions(&["Command::new", "process::Command", "posix_spawn", "nix::unistd::fork"], |source| {
            source.top() != "process"
        });
    assert!(found.is_empty(), "only `process` starts children:\n{}", found.join("\n"));
}

/// The unit tests of a file that start processes outside of a module `with_processes`, which `make
/// check` leaves out. A file without tests of its own supports others.
fn starts_in_tests(file: &str, text: &str) -> Vec<String> {
    let code = bare(text);
    let tests = if has_part(file, "tests") { &code } else { &code[start_of_tests(&code)..] };
    if has_part(file, "with_processes") || !tests.contains("#[test]") && !tests.contains("#[tokio::test") {
        return Vec::new();
    }
    let starts = ["Command::new", "Child::start", "Program::of_tests"];
    starts.iter().filter(|word| tests.contains(**word)).map(|word| format!("{file}: {word}")).collect()
}

#[test]
fn unit_tests_start_processes_only_in_with_processes() {
    let found: Vec<String> = files().iter().flat_map(|(file, text)| starts_in_tests(file, text)).collect();
    assert!(found.is_empty(), "move these tests to a module `with_processes`:\n{}", found.join("\n"));
}

/// Whether code makes a value of the type, rather than naming it in a signature, an `impl` or a
/// pattern.
fn makes(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let (before, after) = (code[..at].trim_end(), code[at + name.len()..].trim_start());
        let whole = !code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        // The path in front of the name (`livekit::EgressInfo`) is part of it.
        let before =
            before.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_' || c == ':').trim_end();
        let path_word = code[before.len()..at].trim();
        let named = ["->", "&", ">"].iter().any(|mark| before.ends_with(mark))
            || ["let", "struct", "impl", "for", "mut", "dyn"].contains(&path_word)
            || path_word.starts_with("for ");
        whole && ((after.starts_with('{') && !named) || after.starts_with("::default()"))
    })
}

#[test]
fn report_alone_makes_an_egress_info() {
    let found: Vec<_> = Source::all()
        .into_iter()
        .filter(|source| source.top() != "report" && makes(&source.code, "EgressInfo"))
        .map(|source| source.path)
        .collect();
    assert!(found.is_empty(), "only `report` makes an EgressInfo: {found:?}");
}

mod the_check_itself {
    use super::*;

    const DOCUMENT: &str = "## Who may import whom\n\n| module | may import |\n|---|---|\n\
        | `secret` `media` | nothing |\n| `plan` | `secret` |\n| `recording` | all above |\n| `cli`, `main` | anything |\n\n## Next";

    #[track_caller]
    fn check(path: &str, code: &str, expected: &[&str]) {
        let found = breaches(&Source::new(path, code), &table(DOCUMENT));
        let ends: Vec<_> =
            found.iter().map(|text| text.rsplit_once('`').unwrap().0.rsplit('`').next().unwrap()).collect();
        assert_eq!(ends, expected, "{found:?}");
    }

    #[test]
    fn an_edge_outside_of_the_table_is_found_in_every_form() {
        check("plan.rs", "use crate::media::Feed;", &["media"]);
        check(
            "plan/x.rs",
            "use crate::{secret::Secret, media::{Feed, Intake}, recording};",
            &["media", "recording"],
        );
        check("plan/x.rs", "fn f() { crate::media::init() }", &["media"]);
        check("plan/x.rs", "use super::super::media::Feed;", &["media"]);
        check("plan/x/y.rs", "use super::super::super::media;", &["media"]);
    }

    #[test]
    fn what_is_allowed_passes() {
        check("plan/x.rs", "use crate::secret::Secret; use crate::plan::codec; use super::output;", &[]);
        check("recording.rs", "use crate::{media, plan, secret};", &[]);
        check("cli.rs", "use crate::recording;", &[]);
        check(
            "plan.rs",
            "// crate::media\n/* crate::media */ const A: &str = \"crate::media\"; const B: char = '\"';",
            &[],
        );
        check("plan.rs", "fn f<'a>(x: &'a str) {}\n#[cfg(test)]\nmod tests { use crate::media; }", &[]);
        check("plan.rs", r####"const A: &str = r#"crate::media"#;"####, &[]);
    }

    #[test]
    fn a_module_without_a_row_is_found() {
        let found = breaches(&Source::new("helpers.rs", ""), &table(DOCUMENT));
        assert!(found[0].contains("no row"), "{found:?}");
    }

    #[test]
    fn a_test_that_starts_a_process_elsewhere_is_found() {
        let test = "#[test]\nfn t() { Command::new(\"true\"); }";
        assert_eq!(starts_in_tests("media/tests.rs", test), ["media/tests.rs: Command::new"]);
        assert_eq!(starts_in_tests("media/tests/with_processes.rs", test), [""; 0]);
        assert_eq!(starts_in_tests("media/tests/support.rs", "fn f() { Command::new(\"true\"); }"), [""; 0]);
        assert_eq!(starts_in_tests("process.rs", "fn f() { Command::new(\"true\"); }"), [""; 0]);
        let inline = format!("#[cfg(test)]\nmod tests {{ {test} }}");
        assert_eq!(starts_in_tests("media.rs", &inline), ["media.rs: Command::new"]);
    }

    #[test]
    fn making_is_told_from_naming() {
        assert!(makes("let info = EgressInfo { status, ..old };", "EgressInfo"));
        assert!(makes("send(livekit::EgressInfo { id })", "EgressInfo"));
        assert!(makes("EgressInfo::default()", "EgressInfo"));
        assert!(!makes("fn last(&self) -> EgressInfo { self.last.clone() }", "EgressInfo"));
        assert!(!makes("impl From<&Report> for EgressInfo { }", "EgressInfo"));
        assert!(!makes("use livekit::EgressInfo;", "EgressInfo"));
    }
}
