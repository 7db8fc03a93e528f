//! Sees that the pages that go into the binary were built.

use std::path::Path;

fn main() {
    let root = std::env::var("CARGO_MANIFEST_DIR").expect("Cargo says where the package is");
    for page in ["layout", "console"] {
        let index = format!("web/dist/{page}/index.html");
        // The folder's time tells of files that come and go; those that are there are told of by the compiler itself.
        println!("cargo::rerun-if-changed={index}");
        println!("cargo::rerun-if-changed=web/dist/{page}/assets");
        if !Path::new(&root).join(index).is_file() {
            println!("cargo::error=web/dist is missing: run `make web`");
            return;
        }
    }
}
