//! The README is correct: its commands, flags and paths exist. The changelog has the right format.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

fn read(path: &str) -> Result<String> {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).context(path.to_owned())
}

/// The README's console commands, for root (`# `) and for any user (`$ `).
fn commands() -> Result<Vec<String>> {
    let readme = read("README.md")?;
    let blocks = readme
        .split("```console\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    Ok(blocks
        .flat_map(str::lines)
        .filter_map(|line| line.strip_prefix("# ").or_else(|| line.strip_prefix("$ ")))
        .map(str::to_owned)
        .collect())
}

#[test]
fn the_readme_s_test_scripts_exist_and_are_executable() -> Result<()> {
    let commands = commands()?;
    for script in ["tests/demo", "tests/run", "tests/long"] {
        assert!(
            commands.iter().any(|command| command == script),
            "the README does not mention {script}"
        );
        let mode = fs::metadata(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))?
            .permissions()
            .mode();
        assert_eq!(mode & 0o111, 0o111, "{script} is not executable");
    }
    assert!(
        read(".ci/run")?.lines().any(|line| line == "tests/run"),
        "CI does not run tests/run"
    );
    Ok(())
}

#[test]
fn every_flag_in_the_readme_exists() -> Result<()> {
    use clap::CommandFactory;
    let cli = pullpray::cli::Cli::command();
    let (mut checked, mut verbs) = (0, BTreeSet::new());
    for command in commands()? {
        // The comment may mention another flag of the verb.
        let (typed, comment) = command.split_once(" # ").unwrap_or((&command, ""));
        let mut words = typed
            .split_whitespace()
            .skip_while(|word| *word != "pullpray" && !word.ends_with("/pullpray"))
            .skip(1)
            .chain(comment.split(|c: char| c.is_whitespace() || ",;".contains(c)))
            .skip_while(|word| word.is_empty());
        if ["tests/", "cargo ", "apt", "setfacl "]
            .iter()
            .any(|other| typed.starts_with(other))
        {
            continue;
        }
        let verb = words.next().with_context(|| command.clone())?;
        let known = cli
            .find_subcommand(verb)
            .with_context(|| format!("no such verb: {verb}: {command}"))?;
        verbs.insert(verb.to_owned());
        // What follows "--" is another program's.
        let own = words.take_while(|word| *word != "--");
        for word in own.filter(|word| word.starts_with("--")) {
            checked += 1;
            let name = word.trim_start_matches("--");
            assert!(
                known.get_arguments().any(|a| a.get_long() == Some(name)),
                "pullpray {verb} has no {word}"
            );
        }
    }
    assert!(checked >= 12, "only {checked} flags were found");
    assert!(
        verbs.contains("status"),
        "no commands for any user: {verbs:?}"
    );
    Ok(())
}

/// The program's paths for an app, with APP for its name.
fn paths_of_an_app() -> Result<BTreeSet<String>> {
    use pullpray::app::{Answers, Facts, Limits};
    use pullpray::layout;
    let mut answers = Answers::default();
    for (name, value) in [
        ("app", "todo"),
        ("repo", "git@github.com:acme/project.git"),
        ("wsgi", "site.wsgi"),
        ("settings", "site.settings"),
    ] {
        answers.set(name, value);
    }
    let app = answers
        .parse(&Facts::default(), Limits::default())
        .map_err(|problems| anyhow::anyhow!("{problems:?}"))?;
    let name = &app.name;
    let known = [
        layout::settings(name),
        app.environment_file(),
        app.deploy_script(),
        app.current(),
        app.static_dir.to_string().into(),
        layout::AGENT_DIR.into(),
        app.ssh_config(),
        app.sudoers(),
        app.cron(),
        layout::state(name),
        layout::receipt(name),
        layout::data(name),
    ];
    Ok(known
        .iter()
        .map(|path| path.display().to_string().replace("todo", "APP"))
        .collect())
}

/// Absolute paths in a text (`/etc/pullpray/APP.toml`), without a slash at the end.
fn absolute_paths(text: &str) -> BTreeSet<String> {
    text.split(|c: char| c.is_whitespace() || "`\"'(),;:".contains(c))
        .filter(|word| word.starts_with('/') && word[1..].contains('/'))
        .map(|word| word.trim_end_matches(['/', '.']).to_owned())
        .collect()
}

#[test]
fn the_readme_s_paths_match_the_program_s() -> Result<()> {
    let readme = read("README.md")?;
    let known = paths_of_an_app()?;
    // The table lists each of them, and no other.
    let table: String = readme
        .split("## Where everything is\n")
        .nth(1)
        .and_then(|rest| rest.split("\n## ").next())
        .context("no table of paths")?
        .lines()
        .filter(|line| line.starts_with("| "))
        .flat_map(|line| [line, "\n"])
        .collect();
    let listed = absolute_paths(&table);
    let missing: Vec<_> = known.difference(&listed).collect();
    let wrong: Vec<_> = listed.difference(&known).collect();
    assert!(
        missing.is_empty() && wrong.is_empty(),
        "the table lacks {missing:?}, and has {wrong:?}, which the program does not use"
    );
    // Outside the table too, a path of an app is one of these, or in one of their directories.
    let directories: BTreeSet<&str> = known
        .iter()
        .filter_map(|path| path.rsplit_once('/').map(|(dir, _)| dir))
        .collect();
    let mut compared = 0;
    for path in absolute_paths(&readme) {
        let (dir, name) = path.rsplit_once('/').context("a path")?;
        if !name.contains("APP") && !dir.contains("APP") {
            continue;
        }
        compared += 1;
        assert!(
            known.contains(&path) || (directories.contains(dir) && path.ends_with(".signers")),
            "the README mentions {path}, which the program does not use"
        );
    }
    assert!(
        compared >= known.len() - 1,
        "only {compared} paths were found"
    );
    Ok(())
}

/// Keep a Changelog 1.1.0: releases with dates, the newest first, and entries by kind of change.
#[test]
fn the_changelog_has_the_right_format() -> Result<()> {
    const KINDS: [&str; 6] = [
        "Added",
        "Changed",
        "Deprecated",
        "Removed",
        "Fixed",
        "Security",
    ];
    let text = read("CHANGELOG.md")?;
    let releases = parse_changelog::parse(&text)?;
    assert_eq!(
        releases.keys().next().copied(),
        Some("Unreleased"),
        "Unreleased must come first"
    );
    let mut days = Vec::new();
    for (version, release) in &releases {
        if *version != "Unreleased" {
            let day = release.title.rsplit_once(" - ").map(|(_, day)| day);
            let day = day.with_context(|| format!("{version} has no date"))?;
            days.push(chrono::NaiveDate::parse_from_str(day, "%Y-%m-%d").context(day.to_owned())?);
        }
        let mut kinds = release.notes.split("### ");
        assert_eq!(
            kinds.next(),
            Some(""),
            "{version}: text before a kind of change"
        );
        for kind in kinds {
            let (title, entries) = kind.split_once("\n\n").context(kind.to_owned())?;
            assert!(
                KINDS.contains(&title),
                "{version}: {title} is not a kind of change"
            );
            for line in entries.trim_end().lines() {
                assert!(
                    line.starts_with("- ") || line.starts_with("  "),
                    "{version}, {title}: neither an entry nor its continuation: {line:?}"
                );
            }
        }
    }
    assert!(days.is_sorted_by(|newer, older| newer >= older), "{days:?}");
    Ok(())
}
