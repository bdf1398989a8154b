//! Children and their surroundings.

use std::time::Instant;

use super::super::effective_uid;
use super::*;

#[test]
fn no_environment_is_inherited_and_failures_are_reported() -> Result<()> {
    let env = Command::new("env").env("A", "1").run()?;
    let mut names: Vec<&str> = env
        .stdout
        .lines()
        .filter_map(|l| l.split('=').next())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["A", "LC_ALL", "PATH"]);
    let error = Command::new("sh")
        .args(["-c", "echo why >&2; exit 3"])
        .run()
        .err();
    assert_eq!(
        error.map(|e| e.to_string()).as_deref(),
        Some("sh -c echo why >&2; exit 3 exited with status 3: why")
    );
    let error = Command::new("no-such-program").run().err();
    assert_eq!(
        error.map(|e| e.to_string()).as_deref(),
        Some("no-such-program is not installed")
    );
    Ok(())
}

#[test]
fn a_child_has_its_own_session_and_no_terminal() -> Result<()> {
    let output = Command::new("sh")
        .args(["-c", "cut -d' ' -f1,6,7 /proc/$$/stat; ls -l /proc/$$/fd"])
        .run()?;
    let first = output.stdout.lines().next().unwrap_or_default();
    let [pid, session, terminal] = first.split(' ').collect::<Vec<_>>()[..] else {
        panic!("{first}");
    };
    assert_eq!((session, terminal), (pid, "0"));
    // The one more is the directory that ls reads.
    assert_eq!(
        output.stdout.matches(" -> ").count(),
        3,
        "{}",
        output.stdout
    );
    assert_eq!(output.stdout.matches(" -> /memfd:").count(), 2);
    assert_eq!(output.stdout.matches(" -> /dev/null").count(), 1);
    Ok(())
}

#[test]
fn input_is_passed_in_memory_to_any_account() -> Result<()> {
    let nobody = (effective_uid() == 0).then(|| Identity {
        name: "nobody".into(),
        uid: 65_534,
        gid: 65_534,
        groups: Vec::new(),
        home: "/".into(),
    });
    for account in [None, nobody.as_ref()] {
        let output = Command::new("cat")
            .arg("-")
            .file(b"second")?
            .file(b" third")?
            .stdin(b"first ")?
            .run_as(account)
            .run()?;
        assert_eq!(output.stdout, "first second third");
    }
    Ok(())
}

#[test]
fn endless_output_is_stopped() {
    let error = Command::new("yes").run().err();
    assert!(error.is_some_and(|e| e.to_string().contains("wrote more than 16 MiB")));
}

#[test]
fn a_deadline_terminates_the_whole_group() {
    let started = Instant::now();
    let error = Command::new("sh")
        .args(["-c", "sleep 30 & sleep 30"])
        .deadline(Duration::from_millis(100))
        .run()
        .err();
    assert!(error.is_some_and(|e| e.to_string().contains("did not end")));
    assert!(started.elapsed() < Duration::from_secs(10));
}
