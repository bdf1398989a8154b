//! Rules for single files of the sources.

use std::fs;
use std::path::Path;

use anyhow::Result;

use crate::layers::{root, sources};

#[test]
fn one_file_names_the_terminal_crates() -> Result<()> {
    let src = root().join("src");
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
    let src = root().join("src");
    for file in sources(&src)? {
        let text = fs::read_to_string(&file)?;
        let raw = text.contains("io::stdout") || text.contains("io::stderr");
        // The bytes of ssh's connection are no text.
        let bytes = file == src.join("host/tunnel.rs");
        assert!(
            !raw || bytes || file.starts_with(src.join("ui")),
            "{} prints without ui::stdout() or ui::stderr()",
            file.display()
        );
    }
    Ok(())
}

#[test]
fn files_can_be_read_in_a_sitting() -> Result<()> {
    for (dir, most) in [("src", 400), ("tests", 520)] {
        for file in sources(&root().join(dir))? {
            if file.extension().is_some_and(|extension| extension == "rs") {
                let lines = fs::read_to_string(&file)?.lines().count();
                assert!(lines <= most, "{} has {lines} lines", file.display());
            }
        }
    }
    Ok(())
}
