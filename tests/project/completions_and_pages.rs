//! Shell completions and manual pages, as the binary generates them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Result, ensure};

const PULLPRAY: &str = env!("CARGO_BIN_EXE_pullpray");

/// Subcommands that only pullpray itself calls.
const HIDDEN: [&str; 4] = ["exec", "load-key", "inspect", "tunnel"];

fn run(program: &str, arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()?)
}

/// Whether to test with this program. tests/run, and so CI, installs all of them; elsewhere a missing one is
/// skipped.
fn installed(program: &str) -> bool {
    std::env::var_os("PREPARED").is_some() || run(program, &["--version"]).is_ok()
}

fn completions(dir: &Path, shell: &str) -> Result<PathBuf> {
    let out = run(PULLPRAY, &["completions", shell])?;
    ensure!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    let path = dir.join(shell);
    fs::write(&path, out.stdout)?;
    Ok(path)
}

/// Bash's completions of the last word, with the script loaded.
fn completed(script: &Path, words: &[&str]) -> Result<Vec<String>> {
    let last = words.len() - 1;
    let command = format!(
        "set -eu; . {script}; function=$(complete -p pullpray | sed 's/.*-F \\([^ ]*\\) .*/\\1/'); \
         COMP_WORDS=({words}); COMP_CWORD={last}; \
         \"$function\" pullpray {word:?} {before:?} || true; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        script = script.display(),
        words = words.join(" "),
        word = words[last],
        before = words[last - 1],
    );
    let out = run("bash", &["--norc", "-c", &command])?;
    ensure!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    Ok(String::from_utf8(out.stdout)?
        .split_whitespace()
        .map(str::to_owned)
        .collect())
}

#[test]
fn shells_complete_verbs_and_flags() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let bash = completions(dir.path(), "bash")?;
    assert_eq!(completed(&bash, &["pullpray", "ro"])?, ["rollback"]);
    assert_eq!(completed(&bash, &["pullpray", "poll", "--a"])?, ["--all"]);
    assert_eq!(
        completed(&bash, &["pullpray", "completions", "z"])?,
        ["zsh"]
    );
    for shell in ["bash", "zsh", "fish"] {
        let script = completions(dir.path(), shell)?;
        let text = fs::read_to_string(&script)?;
        assert!(text.contains("rollback") && text.contains("overwrite"));
        for verb in HIDDEN {
            assert!(!text.contains(verb), "{shell} completes {verb}");
        }
        if installed(shell) {
            let out = run(shell, &["-n", &script.display().to_string()])?;
            assert!(out.status.success() && out.stderr.is_empty(), "{out:?}");
        }
    }
    let out = run(PULLPRAY, &["completions", "csh"])?;
    assert_eq!(out.status.code(), Some(2));
    Ok(())
}

#[test]
fn every_verb_has_a_valid_manual_page() -> Result<()> {
    use clap::CommandFactory;
    let dir = tempfile::tempdir()?;
    let to = dir.path().join("man/man1");
    // Twice: the second run replaces existing pages.
    for _ in 0..2 {
        let out = run(PULLPRAY, &["man", &to.display().to_string()])?;
        ensure!(out.status.success() && out.stderr.is_empty(), "{out:?}");
    }
    let mut expected = vec!["pullpray.1".to_owned()];
    for verb in pullpray::cli::Cli::command().get_subcommands() {
        if !HIDDEN.contains(&verb.get_name()) {
            expected.push(format!("pullpray-{}.1", verb.get_name()));
        }
    }
    expected.sort();
    let mut pages = fs::read_dir(&to)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    pages.sort();
    assert_eq!(pages, expected);

    let man = installed("man");
    for page in pages {
        let path = to.join(&page);
        let text = fs::read_to_string(&path)?;
        for part in [".SH NAME\n", ".SH SYNOPSIS\n", ".SH \"SEE ALSO\"\n"] {
            assert!(text.contains(part), "{page} has no {part}");
        }
        assert!(!text.contains(".SH EXTRA"), "{page}");
        for verb in HIDDEN {
            assert!(!text.contains(&verb.replace('-', "\\-")), "{page}: {verb}");
        }
        if man {
            let out = Command::new("man")
                .args(["--warnings", "-l"])
                .arg(&path)
                .env("LC_ALL", "C.UTF-8")
                .env("MANWIDTH", "80")
                .output()?;
            let stderr = String::from_utf8_lossy(&out.stderr);
            assert!(
                out.status.success() && stderr.is_empty(),
                "{page}: {stderr}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_page_that_cannot_be_written_is_reported() -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::write(dir.path().join("file"), "")?;
    let to = dir.path().join("file/man1").display().to_string();
    let out = run(PULLPRAY, &["man", &to])?;
    assert_eq!(out.status.code(), Some(1));
    let stderr = String::from_utf8(out.stderr)?;
    assert!(
        stderr.contains(&format!("failed to create {to}")),
        "{stderr}"
    );
    Ok(())
}
