//! Who may use whom, as the crate's documentation says.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

const LAYERS: &[(&str, &[&str])] = &[
    ("app", &["app"]),
    ("render", &["app", "render"]),
    ("server", &["app", "server"]),
    ("record", &["app", "record", "server"]),
    ("step", &["app", "render", "record", "server", "step"]),
    ("poll", &["app", "render", "record", "server", "poll"]),
    ("ui", &["ui"]),
    ("cli", &["app", "cli"]),
    ("exit", &["exit"]),
];

fn sources(path: &Path) -> Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
        found.extend(sources(&entry?.path())?);
    }
    Ok(found)
}

/// What of the crate a text names: `crate::NAME`, also in `crate::{a, b}`; comments do not count.
fn named(text: &str) -> Vec<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let word = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split('}').next().unwrap_or_default();
                found.extend(
                    list.split(',')
                        .map(|part| word(part.trim()))
                        .filter(|w| !w.is_empty()),
                );
            }
            None => found.push(word(rest)),
        }
    }
    found
}

#[test]
fn nobody_uses_whom_it_may_not() -> Result<()> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut looked_at = 0;
    for (layer, may_use) in LAYERS {
        let dir = src.join(layer);
        let path = if dir.is_dir() {
            dir
        } else {
            src.join(format!("{layer}.rs"))
        };
        for file in sources(&path)? {
            looked_at += 1;
            for name in named(&fs::read_to_string(&file)?) {
                assert!(
                    may_use.contains(&name.as_str()),
                    "{} uses {name}, and {layer} may use {may_use:?} only",
                    file.display()
                );
            }
        }
    }
    assert!(looked_at > 40, "only {looked_at} files were found");
    Ok(())
}

#[test]
fn the_reader_of_names_reads() {
    assert_eq!(
        named("use crate::{app, server::x};\n// crate::ui\nlet a = crate::provision::b;"),
        ["app", "server", "step"]
    );
}

#[test]
fn one_file_names_the_terminal_crates() -> Result<()> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut named = Vec::new();
    for file in sources(&src)? {
        let text = fs::read_to_string(&file)?;
        if text.contains("dialoguer") || text.contains("indicatif") {
            named.push(file.strip_prefix(&src)?.to_owned());
        }
    }
    assert_eq!(named, [Path::new("ui/terminal.rs")]);
    Ok(())
}

#[test]
fn what_is_printed_goes_through_the_writer_that_makes_it_safe() -> Result<()> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for file in sources(&src)? {
        let text = fs::read_to_string(&file)?;
        let raw = text.contains("io::stdout") || text.contains("io::stderr");
        assert!(
            !raw || file.starts_with(src.join("ui")),
            "{} prints without ui::stdout() or ui::stderr()",
            file.display()
        );
    }
    Ok(())
}

#[test]
fn files_can_be_read_in_a_sitting() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in sources(&root.join("src"))?
        .into_iter()
        .chain(sources(&root.join("tests"))?)
    {
        if file.extension().is_some_and(|extension| extension == "rs") {
            let lines = fs::read_to_string(&file)?.lines().count();
            assert!(lines <= 520, "{} has {lines} lines", file.display());
        }
    }
    Ok(())
}
