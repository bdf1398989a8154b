//! Where no server can be booted, tests/run and tests/demo say so at once, and run what they can.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// A script, started as in most containers: by root without the right to make namespaces, or not by root.
/// What it says first and when, what it says then, and its exit code.
struct Said {
    first: String,
    after: Duration,
    rest: String,
    status: Option<i32>,
}

fn contained(script: &str, arguments: &[&str], ci: bool) -> Result<Said> {
    let script = format!("{}/tests/{script}", env!("CARGO_MANIFEST_DIR"));
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--bounding-set=-sys_admin", "--inh-caps=-all", &script]);
        command
    } else {
        Command::new(&script)
    };
    command.args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::inherit());
    if ci {
        command.env("CI", "true");
    } else {
        command.env_remove("CI");
    }
    let begun = Instant::now();
    let mut child = command.spawn().context(script)?;
    let mut out = BufReader::new(child.stdout.take().context("no stdout")?);
    let (mut first, mut rest) = (String::new(), String::new());
    out.read_line(&mut first)?;
    let after = begun.elapsed();
    out.read_to_string(&mut rest)?;
    let status = child.wait()?.code();
    Ok(Said {
        first,
        after,
        rest,
        status,
    })
}

#[test]
fn tests_run_says_what_it_cannot_run_and_how_much_that_is() -> Result<()> {
    for (ci, status) in [(false, 0), (true, 1)] {
        let words = ["no_spelling_escapes"];
        let said = contained("run", &words, ci)?;
        ensure!(
            said.first
                .starts_with("tests/run: no server can be booted here: ")
                && said.after < Duration::from_secs(5),
            "{} after {:?}",
            said.first,
            said.after
        );
        ensure!(
            said.rest
                .contains("test layers::no_spelling_escapes ... ok"),
            "the rest is run: {}",
            said.rest
        );
        let count = said
            .rest
            .lines()
            .find_map(|line| {
                line.strip_prefix("tests/run: ")?
                    .split_once(" tests on booted servers were NOT run")
            })
            .with_context(|| said.rest.clone())?
            .0;
        ensure!(count.parse::<u32>()? >= 60, "{count}");
        ensure!(said.status == Some(status), "CI {ci}: {:?}", said.status);
    }
    let said = contained("run", &["--test", "server", "live"], false)?;
    ensure!(said.status == Some(1), "{:?}: {}", said.status, said.rest);
    Ok(())
}

#[test]
fn tests_demo_says_first_what_it_takes_and_what_to_run_instead() -> Result<()> {
    let said = contained("demo", &[], false)?;
    ensure!(
        said.first.contains("takes a Debian machine") && said.first.contains("tests/run"),
        "{}",
        said.first
    );
    ensure!(said.after < Duration::from_secs(5) && said.rest.is_empty());
    ensure!(said.status == Some(1));
    Ok(())
}
