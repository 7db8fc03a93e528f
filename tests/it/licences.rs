//! Every crate that is built has a licence that `deny.toml` allows.

use std::path::Path;

use crate::support::tool::succeed;

fn allowed() -> Vec<String> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deny.toml")).unwrap();
    let document: toml::Table = text.parse().unwrap();
    let list = document["licenses"]["allow"].as_array().unwrap();
    list.iter().map(|licence| licence.as_str().unwrap().to_owned()).collect()
}

/// Whether a licence expression can be met by allowed licences alone.
fn permitted(expression: &str, allowed: &[String]) -> bool {
    // Older crates write `MIT/Apache-2.0`.
    let parsed = spdx::Expression::parse_mode(expression, spdx::ParseMode::LAX);
    parsed.is_ok_and(|parsed| parsed.evaluate(|licence| allowed.contains(&licence.to_string())))
}

#[test]
fn every_dependency_has_a_licence_that_is_allowed() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    // What another system would need is not built here, and perhaps not even downloaded.
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

    let allowed = allowed();
    let mut refused = Vec::new();
    for package in packages {
        let licence = package["license"].as_str().unwrap_or("none given");
        if !permitted(licence, &allowed) {
            refused.push(format!("{} {}: {licence}", package["name"], package["version"]));
        }
    }
    assert!(refused.is_empty(), "not allowed by deny.toml:\n{}", refused.join("\n"));
}

#[test]
fn expressions_are_judged_as_a_whole() {
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
