//! The documents say what is true.

use std::fs;
use std::path::Path;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn the_example_of_the_readme_is_the_quickstart() {
    let (readme, example) = (read("README.md"), read("examples/quickstart.rs"));
    let block = readme.split("```rust\n").nth(1).unwrap().split("```").next().unwrap();
    let code = &example[example.find("use tombolo").unwrap()..];
    assert_eq!(block, code);
    assert!(example.lines().count() <= 40);
}

#[test]
fn every_file_that_a_document_names_exists() {
    let documents =
        ["README.md", "CONTRIBUTING.md", "docs/architecture.md", "docs/design.md", "docs/guarantees.md", "docs/file-format.md"];
    for document in documents {
        let text = read(document);
        let code = text.split('`').skip(1).step_by(2);
        let named = code.filter(|name| {
            let first = name.split('/').next().unwrap();
            name.contains('/')
                && !name.contains(char::is_whitespace)
                && ["src", "tests", "docs", "examples", "benches"].contains(&first)
        });
        for name in named {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
            // Evidence is written by long runs.
            assert!(path.exists() || name.starts_with("docs/evidence"), "{document} names {name}");
        }
    }
}
