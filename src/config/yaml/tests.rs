use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;

#[derive(Debug, PartialEq, Default, Deserialize)]
#[serde(default)]
struct Sample {
    port: u16,
    rate: f64,
    is_on: bool,
    name: String,
    list: Vec<String>,
    map: BTreeMap<String, String>,
    nested: Option<Box<Self>>,
}

fn read(text: &str) -> Result<(Sample, Vec<String>), String> {
    let read = Tree::parse(text).and_then(|tree| tree.read());
    let (value, unknown) = read.map_err(|error| error.to_string())?;
    Ok((value, unknown.iter().map(ToString::to_string).collect()))
}

#[test]
fn empty_values_are_not_set() {
    for text in ["", "# only this\n", "---\n", "~", "port:\nname: ~\nnested:\nlist:\nmap: null\nis_on:\n"] {
        assert_eq!(read(text).unwrap(), (Sample::default(), Vec::new()), "{text}");
    }
}

#[test]
fn values_have_the_types_that_go_reads() {
    let (sample, _) =
        read("port: 0x1F\nrate: 2\nis_on: yes\nname: 0012\nlist: [1, ~, x]\nmap: {a: 1.50}\n").unwrap();
    assert_eq!((sample.port, sample.rate, sample.is_on), (31, 2.0, true));
    assert_eq!((sample.name.as_str(), sample.list), ("0012", vec!["1".into(), String::new(), "x".into()]));
    assert_eq!(sample.map["a"], "1.50");
    assert_eq!(
        read("port: 5.0\nrate: 1_0.5").unwrap().0,
        Sample { port: 5, rate: 10.5, ..Sample::default() }
    );
    // A tag sets the type of a scalar.
    assert_eq!(read("name: !!str ~").unwrap().0.name, "~");
}

#[test]
fn aliases_and_merges_are_resolved() {
    let text = "nested: &base {port: 1, name: a}\nmap: {}\n<<: *base\nname: b\n";
    let (sample, unknown) = read(text).unwrap();
    assert_eq!((sample.port, sample.name.as_str()), (1, "b"));
    assert_eq!((sample.nested.unwrap().name.as_str(), unknown.len()), ("a", 0));
}

#[test]
fn unknown_keys_are_reported_with_their_place() {
    let (_, unknown) =
        read("prt: 1\nnested:\n  port: 2\n  nme: {a: b}\n\nmap: {any: thing}\nzzz:\n").unwrap();
    let expected = [
        "line 1, column 1: prt: unknown key",
        "line 4, column 3: nested.nme: unknown key",
        "line 7, column 1: zzz: unknown key",
    ];
    let mut unknown = unknown;
    unknown.sort();
    assert_eq!(unknown, expected);
}

#[test]
fn errors_name_place_key_value_and_remedy() {
    for (text, expected) in [
        ("port: 70000", "line 1, column 7: port: `70000` is not a whole number from 0 to 65535"),
        ("nested:\n  port: -1", "line 2, column 9: nested.port: `-1` is not a whole number from 0 to 65535"),
        ("port: \"80\"", "line 1, column 7: port: the text \"80\" is not a whole number"),
        ("port: 99999999999999999999999", "`99999999999999999999999` is not a whole number of 64 bits"),
        ("rate: fast", "line 1, column 7: rate: `fast` is not a number"),
        ("is_on: maybe", "line 1, column 8: is_on: `maybe` is not true or false"),
        ("name: [a]", "line 1, column 7: name: a list is not a text"),
        ("list: [a, {b: c}]", "line 1, column 11: list[1]: a section is not a text"),
        ("list: hidden", "line 1, column 7: list: expected a list: [a, b]"),
        ("nested: hidden", "line 1, column 9: nested: expected a section: keys with values"),
        ("map: [a]", "line 1, column 6: map: expected a section: keys with values"),
        ("port: 1\n\nport: 2", "line 3, column 1: port: repeated key, first set in line 1"),
        ("a: 1\n---\nb: 2", "line 3, column 1: a second document begins here; only one is allowed"),
        ("name: *nobody", "line 1, column 7: while parsing node, found unknown anchor"),
        ("nested: &a {nested: *a}", "an alias inside its own anchor"),
        ("? [a]\n: b", "a key that is not a text"),
        ("[1, 2]", "line 1, column 1: expected a section"),
        ("<<: 1", "<<: expected a section"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(!error.contains("hidden"), "{text}: {error}");
    }
}

#[test]
fn texts_that_could_fill_memory_are_refused() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for at in 1..12 {
        let before = format!("*a{}, ", at - 1).repeat(10);
        bomb.push_str(&format!("a{at}: &a{at} [{before}]\n"));
    }
    assert!(read(&bomb).unwrap_err().contains("too many values"));
    assert!(read(&format!("list: {}", "[".repeat(5000))).is_err());
    assert!(
        read(&format!("list: {}{}", "[".repeat(40), "]".repeat(40)))
            .unwrap_err()
            .contains("nested too deeply")
    );
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "(\\PC|[-:{}\\[\\]&*!|>'\"%@`#,?~<\n\t ]|port|nested|list|<<){0,60}") {
        drop(read(&text));
    }
}
