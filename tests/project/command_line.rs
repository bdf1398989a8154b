//! Runs the binary without privileges.

use std::process::{Command, Output, Stdio};

use anyhow::Result;

fn pullpray(arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(env!("CARGO_BIN_EXE_pullpray"))
        .args(arguments)
        .stdin(Stdio::null())
        .env_clear()
        .output()?)
}

/// The help text as one line, since wrapping depends on the terminal.
fn help(verb: &str) -> Result<String> {
    let text = String::from_utf8(pullpray(&[verb, "--help"])?.stdout)?;
    Ok(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn help_lists_every_setting_and_exit_code() -> Result<()> {
    let text = help("init")?;
    for answer in pullpray::app::ANSWERS {
        let flag = format!("--{}", answer.name.replace('_', "-"));
        assert!(text.contains(&flag), "{flag} is not in the help");
    }
    for words in [
        "0 done",
        "1 a step failed",
        "2 usage",
        "3 waiting",
        "130 interrupted",
    ] {
        assert!(
            text.contains(words),
            "{words:?} is not in the help:\n{text}"
        );
    }
    let text = help("poll")?;
    for words in [
        "0 up to date",
        "1 the deployment failed",
        "2 usage",
        "3 could not reach the git host",
        "4 the deployment failed",
        "With --all, the most severe",
    ] {
        assert!(
            text.contains(words),
            "{words:?} is not in the help:\n{text}"
        );
    }
    Ok(())
}

#[test]
fn invalid_arguments_exit_with_2_and_an_explanation() -> Result<()> {
    for (arguments, words) in [
        (&["pull"][..], "unrecognized subcommand"),
        (&["init", "--bnid", "x"], "--bind"),
        (&["init", "Not A Name"], "is not a valid app name"),
        (&["init", "--wait", "soon"], "for example 30s"),
        (&["poll"], "<APP|--all>"),
        (&["poll", "todo", "--all"], "cannot be used with '--all'"),
        (&["poll", "../x"], "is not a valid app name"),
        (&["poll", "no-such-app"], "there is no app no-such-app"),
    ] {
        let output = pullpray(arguments)?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(
            stderr.contains(words),
            "{arguments:?} should print {words:?}: {stderr}"
        );
        assert!(output.stdout.is_empty());
    }
    Ok(())
}

#[test]
fn help_lists_every_reason_of_an_outage() -> Result<()> {
    let source = include_str!("../../src/state/remote.rs");
    let text = help("status")?;
    let mut count = 0;
    for item in syn::parse_file(source)?.items {
        let syn::Item::Enum(kinds) = item else {
            continue;
        };
        for kind in kinds.variants {
            let mut name = String::new();
            for c in kind.ident.to_string().chars() {
                if c.is_uppercase() && !name.is_empty() {
                    name.push('_');
                }
                name.extend(c.to_lowercase());
            }
            assert!(text.contains(&name), "{name} is not in the help");
            count += 1;
        }
    }
    assert!(count > 15, "{count}");
    Ok(())
}
