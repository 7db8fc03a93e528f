//! Every crate of the build has a licence that `deny.toml` allows.

use std::collections::BTreeMap;
use std::path::Path;

use crate::support::slots;
use crate::support::tool::succeed;

fn licences() -> toml::Value {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml")).unwrap();
    text.parse::<toml::Table>().unwrap().remove("licenses").unwrap()
}

/// The entries of `allow`.
fn names(of: &toml::Value) -> Vec<String> {
    let list = of["allow"].as_array().unwrap();
    list.iter().map(|licence| licence.as_str().unwrap().to_owned()).collect()
}

fn allowed() -> Vec<String> {
    names(&licences())
}

/// Crates with the licences allowed for them alone.
fn exceptions() -> BTreeMap<String, Vec<String>> {
    let licences = licences();
    let exceptions = licences["exceptions"].as_array().unwrap().iter();
    exceptions.map(|exception| (exception["crate"].as_str().unwrap().to_owned(), names(exception))).collect()
}

/// Whether allowed licences satisfy a licence expression.
fn permitted(expression: &str, allowed: &[String]) -> bool {
    // Older crates write `MIT/Apache-2.0`.
    let parsed = spdx::Expression::parse_mode(expression, spdx::ParseMode::LAX);
    parsed.is_ok_and(|parsed| parsed.evaluate(|licence| allowed.contains(&licence.to_string())))
}

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let _slot = slots::light();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    // Crates of other systems are not built here, and perhaps not even downloaded.
    let platform = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let args = [
        "metadata",
        "--format-version=1",
        "--locked",
        "--filter-platform",
        &platform,
        "--manifest-path",
        manifest.to_str().unwrap(),
    ];
    let metadata: serde_json::Value =
        serde_json::from_slice(&succeed(env!("CARGO"), &args, None).stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 50, "cargo metadata lists all dependencies");

    let (allowed, exceptions) = (allowed(), exceptions());
    let mut refused = Vec::new();
    for package in packages {
        let licence = package["license"].as_str().unwrap_or("none given");
        let exception = exceptions.get(package["name"].as_str().unwrap());
        if !permitted(licence, &allowed) && !exception.is_some_and(|allowed| permitted(licence, allowed)) {
            refused.push(format!("{} {}: {licence}", package["name"], package["version"]));
        }
    }
    assert!(refused.is_empty(), "not allowed by deny.toml:\n{}", refused.join("\n"));
}

#[test]
fn exempt_licenses_are_not_in_the_binary() {
    let _slot = slots::light();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let args =
        ["tree", "--locked", "--edges=normal,build", "--all-features", "--prefix=none", "--manifest-path"];
    let args: Vec<&str> = args.into_iter().chain([manifest.to_str().unwrap()]).collect();
    let tree = String::from_utf8(succeed(env!("CARGO"), &args, None).stdout).unwrap();
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.len() > 50, "cargo tree lists what the binary is made of");
    for name in exceptions().keys() {
        assert!(!names.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn license_expressions_are_evaluated() {
    let _slot = slots::light();
    let allowed = allowed();
    for good in
        ["MIT", "MIT OR Apache-2.0", "MIT/Apache-2.0", "GPL-3.0-or-later OR MIT", "(MIT OR GPL-2.0) AND ISC"]
    {
        assert!(permitted(good, &allowed), "{good}");
    }
    for bad in [
        "GPL-3.0-or-later",
        "MIT AND GPL-2.0-only",
        "LGPL-2.1-or-later",
        "none given",
        "Apache-2.0 AND nonsense",
    ] {
        assert!(!permitted(bad, &allowed), "{bad}");
    }
}
