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
    let documents = [
        "README.md",
        "CONTRIBUTING.md",
        "docs/architecture.md",
        "docs/design.md",
        "docs/guarantees.md",
        "docs/mutants.md",
        "docs/file-format.md",
        "docs/testing.md",
    ];
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

fn all_sources(folder: &Path, to: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all_sources(&path, to);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            to.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn every_test_that_the_list_of_traps_names_exists() {
    let mut sources = String::new();
    for folder in ["src", "tests"] {
        all_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut sources);
    }
    let text = read("docs/testing.md");
    let tests: Vec<&str> = text.split('`').skip(1).step_by(2).filter(|name| name.matches('_').count() >= 3).collect();
    assert!(tests.len() > 10, "{tests:?}");
    for test in tests.into_iter().filter(|name| name.chars().all(|c| c.is_ascii_lowercase() || c == '_')) {
        assert!(sources.contains(&format!("fn {test}(")), "there is no test {test}");
    }
}
