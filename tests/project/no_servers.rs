//! Where no server can be booted, tests/run and tests/demo report it at once, and tests/run runs the other tests.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// Output of a script in a typical container: run by root without CAP_SYS_ADMIN, or not by root.
struct Transcript {
    first_line: String,
    /// Time until the first line.
    after: Duration,
    rest: String,
    status: Option<i32>,
}

fn contained(script: &str, arguments: &[&str], ci: bool) -> Result<Transcript> {
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
    let started = Instant::now();
    let mut child = command.spawn().context(script)?;
    let mut out = BufReader::new(child.stdout.take().context("no stdout")?);
    let (mut first_line, mut rest) = (String::new(), String::new());
    out.read_line(&mut first_line)?;
    let after = started.elapsed();
    out.read_to_string(&mut rest)?;
    let status = child.wait()?.code();
    Ok(Transcript {
        first_line,
        after,
        rest,
        status,
    })
}

#[test]
fn tests_run_reports_how_many_tests_it_skips() -> Result<()> {
    for (ci, status) in [(false, 0), (true, 1)] {
        let words = ["no_spelling_escapes"];
        let output = contained("run", &words, ci)?;
        ensure!(
            output
                .first_line
                .starts_with("tests/run: no server can be booted here: ")
                && output.after < Duration::from_secs(5),
            "{} after {:?}",
            output.first_line,
            output.after
        );
        ensure!(
            output
                .rest
                .contains("test layers::no_spelling_escapes ... ok"),
            "tests without a server run: {}",
            output.rest
        );
        let count = output
            .rest
            .lines()
            .find_map(|line| {
                line.strip_prefix("tests/run: ")?
                    .split_once(" tests on booted servers were NOT run")
            })
            .with_context(|| output.rest.clone())?
            .0;
        ensure!(count.parse::<u32>()? >= 60, "{count}");
        ensure!(
            output.status == Some(status),
            "CI {ci}: {:?}",
            output.status
        );
    }
    let output = contained("run", &["--test", "server", "live"], false)?;
    ensure!(
        output.status == Some(1),
        "{:?}: {}",
        output.status,
        output.rest
    );
    Ok(())
}

#[test]
fn tests_demo_first_prints_its_requirements_and_an_alternative() -> Result<()> {
    let output = contained("demo", &[], false)?;
    ensure!(
        output.first_line.contains("takes a Debian machine")
            && output.first_line.contains("tests/run"),
        "{}",
        output.first_line
    );
    ensure!(output.after < Duration::from_secs(5) && output.rest.is_empty());
    ensure!(output.status == Some(1));
    Ok(())
}
