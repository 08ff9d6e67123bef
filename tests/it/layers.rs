//! The sources follow the table of `docs/architecture.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Layer, and what it may import: the first two columns of the table.
fn table() -> BTreeMap<String, BTreeSet<String>> {
    let text = fs::read_to_string(root().join("docs/architecture.md")).unwrap();
    let mut layers = BTreeMap::new();
    let rows = text.lines().skip_while(|line| !line.starts_with("| layer ")).skip(2).take_while(|line| line.starts_with('|'));
    for row in rows {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let imports = cells[2].split(", ").filter(|import| *import != "–").map(str::to_owned).collect();
        layers.insert(cells[1].trim_matches('`').to_owned(), imports);
    }
    layers
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, to: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, to);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            to.push(path);
        }
    }
}

/// The layers that a line of code names: behind `crate::`, alone or in braces.
fn named(line: &str) -> Vec<String> {
    let code = line.split("//").next().unwrap_or_default();
    let mut layers = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let inner = rest.strip_prefix('{').map_or(rest, |group| group.split('}').next().unwrap_or(group));
        let grouped = rest.starts_with('{');
        for name in inner.split(if grouped { ',' } else { ':' }) {
            let name: String = name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            layers.push(name);
            if !grouped {
                break;
            }
        }
    }
    layers
}

/// Every import that the table does not allow. Tests may check laws: from the line `tests` on.
fn violations(layer: &str, text: &str, table: &BTreeMap<String, BTreeSet<String>>, tests: usize) -> Vec<String> {
    let allowed = &table[layer];
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    lines
        .flat_map(|(number, line)| named(line).into_iter().map(move |name| (number, name)))
        .filter(|(_, name)| name != layer && !allowed.contains(name))
        .filter(|(number, name)| name != "laws" || *number < tests)
        .map(|(number, name)| format!("line {}: {layer} imports {name}", number + 1))
        .collect()
}

/// From which line on there are only tests.
fn first_of_tests(file: &Path, text: &str) -> usize {
    let is_of_tests = file.components().any(|part| ["tests", "tests.rs"].iter().any(|name| part.as_os_str() == *name));
    let inline = || text.lines().position(|line| line.starts_with("mod tests {") || line.ends_with(" mod tests {"));
    if is_of_tests { 0 } else { inline().unwrap_or(usize::MAX) }
}

#[test]
fn every_layer_imports_only_what_the_table_allows() {
    let table = table();
    assert!(table.len() >= 7, "the table was not found");
    let src = root().join("src");
    let mut found = BTreeSet::new();
    let mut wrong = Vec::new();
    let mut files = Vec::new();
    sources(&src, &mut files);
    for file in files {
        let inside = file.strip_prefix(&src).unwrap();
        let layer = inside.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if layer == "lib" {
            continue;
        }
        assert!(table.contains_key(&layer), "{layer} is in src and not in the table");
        found.insert(layer.clone());
        let text = fs::read_to_string(&file).unwrap();
        let tests = first_of_tests(inside, &text);
        wrong.extend(violations(&layer, &text, &table, tests).into_iter().map(|line| format!("{}: {line}", inside.display())));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(found.len(), table.len(), "a layer of the table is not in src");
}

#[test]
fn an_import_against_the_table_is_found() {
    let table = table();
    for text in ["use crate::kv::Store;", "fn f() -> crate::storage::Bytes;", "use crate::{codec, kv};"] {
        assert_eq!(violations("causal", text, &table, 0).len(), 1, "{text}");
    }
    assert!(violations("causal", "// crate::kv\nuse crate::codec::Reader;", &table, 0).is_empty());
    let text = "use crate::laws::join_laws;\nmod tests {\nuse crate::laws::join_laws;";
    assert_eq!(violations("causal", text, &table, first_of_tests(Path::new("causal/dot.rs"), text)).len(), 1);
    assert!(violations("causal", text, &table, first_of_tests(Path::new("causal/tests.rs"), text)).is_empty());
}
