//! Chooses the pages that are embedded in the binary: the built ones, or a stub where they were not built.
//!
//! With `cfg(weir_pages)`, src/pages.rs embeds web/dist. Without it, it embeds src/pages/stub, so that `cargo check` and
//! `cargo test --lib` need no Node.js. An optimised build may be shipped: it fails without the pages.

use std::env;
use std::path::Path;

const PAGES: [&str; 2] = ["web/dist/layout", "web/dist/console"];

fn main() {
    println!("cargo::rustc-check-cfg=cfg(weir_pages)");
    println!("cargo::rerun-if-changed=build.rs");
    let root = env::var("CARGO_MANIFEST_DIR").expect("Cargo sets CARGO_MANIFEST_DIR");
    let root = Path::new(&root);
    if PAGES.iter().all(|page| root.join(page).join("index.html").is_file()) {
        println!("cargo::rustc-cfg=weir_pages");
        for page in PAGES {
            // The folder's time shows which files come and go. The compiler watches the contents of each.
            println!("cargo::rerun-if-changed={page}/index.html");
            println!("cargo::rerun-if-changed={page}/assets");
        }
        return;
    }
    // Cargo runs this again at every build for a file that does not exist, so it watches the folder that does.
    println!("cargo::rerun-if-changed=web");
    if is_optimised() {
        println!("cargo::error=web/dist is missing: run `make web`");
    } else {
        println!(
            "cargo::warning=web/dist is missing: this build has no pages; run `make web` and build again"
        );
    }
}

fn is_optimised() -> bool {
    let is = |name: &str, debug: &[&str]| !debug.contains(&env::var(name).unwrap_or_default().as_str());
    is("PROFILE", &["debug"]) || is("OPT_LEVEL", &["0", "1"])
}
