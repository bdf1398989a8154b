use anyhow::{Result, anyhow};

use super::*;
use crate::app::Facts;
use crate::app::Settings;
use crate::error::WithHint;
use crate::provision::Problem;

fn app() -> Result<App> {
    let text = "format = 1\nrepo = \"git@github.com:acme/todo.git\"\nbranch = \"main\"\nhealth_host = \"todo.example.org\"\n";
    let name = "todo".parse().map_err(|error| anyhow!("{error}"))?;
    let app = Settings::parse(text)?.app(&name, &Facts::default());
    app.map_err(|problems| anyhow!("{}", problems[0]))
}

fn problem() -> Problem {
    Problem {
        why: "is masked".to_owned(),
        remedy: "sudo systemctl unmask x".to_owned(),
    }
}

#[test]
fn each_finding_has_its_status_its_words_and_its_remedy() -> Result<()> {
    let app = app()?;
    let steps = steps(&app);
    let step = steps
        .iter()
        .find(|step| step.id() == StepId::AccountGroup)
        .ok_or_else(|| anyhow!("no such step"))?;
    let text = || "words".to_owned();
    let fix = "sudo pullpray doctor todo --fix --only account.group";
    let diff = || Some("-a\n+b\n".to_owned());
    for (finding, status, message, detail, remedy) in [
        (Ok(Finding::Ok(text())), Status::Ok, "words", None, None),
        (
            Ok(Finding::LocallyModified {
                what: text(),
                diff: "-a\n+b\n".to_owned(),
            }),
            Status::Ok,
            "words",
            diff(),
            None,
        ),
        (
            Ok(Finding::Unproven(text())),
            Status::Warn,
            "words",
            None,
            None,
        ),
        (
            Ok(Finding::Warning(problem())),
            Status::Warn,
            "is masked",
            None,
            Some("sudo systemctl unmask x"),
        ),
        (
            Ok(Finding::Absent(text())),
            Status::Fail,
            "is missing (words)",
            None,
            Some(fix),
        ),
        (
            Ok(Finding::Differs {
                what: text(),
                diff: diff(),
            }),
            Status::Fail,
            "words",
            diff(),
            Some(fix),
        ),
        (
            Ok(Finding::Unknown(text())),
            Status::Skip,
            "words",
            None,
            None,
        ),
        (
            Ok(Finding::Blocked {
                on: StepId::AccountUser,
                why: text(),
            }),
            Status::Skip,
            "waits for account.user (words)",
            None,
            None,
        ),
        (
            Ok(Finding::AwaitsAccess(text())),
            Status::Fail,
            "the git host does not accept the deploy key: words",
            None,
            Some("sudo pullpray init todo"),
        ),
        (
            Ok(Finding::ManualFix(problem())),
            Status::Fail,
            "is masked",
            None,
            Some("sudo systemctl unmask x"),
        ),
        (
            Err(anyhow!("EIO").context("failed to read /x").hint("df")),
            Status::Error,
            "failed to read /x: EIO",
            None,
            Some("df"),
        ),
    ] {
        let check = from_finding(&app, step, finding);
        assert_eq!((check.status, check.message.as_str()), (status, message));
        assert_eq!(check.detail, detail, "{message}");
        let remedies: Vec<&str> = check.remediation.iter().map(String::as_str).collect();
        assert_eq!(remedies, Vec::from_iter(remedy), "{message}");
        assert_eq!((check.id, check.app.as_str()), ("account.group", "todo"));
    }
    Ok(())
}

#[test]
fn a_report_counts_what_it_lists_and_shows_nothing_unsafe() -> Result<()> {
    let app = app()?;
    let steps = steps(&app);
    let one = |status, message: &str| check(&app, &steps[0], status, message.to_owned());
    let mut checks = vec![
        one(Status::Ok, "fine"),
        one(Status::Ok, "fine"),
        one(Status::Warn, "soon"),
        one(Status::Fail, "bad \u{1b}[31m"),
        one(Status::Skip, "later"),
        one(Status::Error, "EIO"),
    ];
    checks[3].detail = Some("-a\n+b\n".to_owned());
    checks[3].remediation = vec!["sudo x".to_owned()];
    let text = render(&app.name, &checks, false);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "  ok    server.requirements    fine");
    assert!(
        lines[3].starts_with("  fail  server.requirements    bad ") && !text.contains('\u{1b}')
    );
    assert_eq!(
        &lines[4..7],
        ["        | -a", "        | +b", "        fix: sudo x"]
    );
    let counts = "todo: 2 ok, 1 warning, 1 failed, 1 skipped, 1 could not be checked";
    assert_eq!(lines.last(), Some(&counts));
    checks.push(one(Status::Warn, "soon"));
    assert!(render(&app.name, &checks, true).starts_with("todo\n  ok "));
    assert!(render(&app.name, &checks, true).contains("2 warnings"));
    // Another app's checks are not counted.
    let other = "blog".parse().map_err(|error| anyhow!("{error}"))?;
    assert_eq!(render(&other, &checks, false), "blog: 0 ok\n");
    assert_eq!(fix_question(1, &app.name), "Fix 1 problem in todo?");
    assert_eq!(fix_question(3, &app.name), "Fix 3 problems in todo?");
    Ok(())
}

#[test]
fn settings_that_cannot_be_read_are_one_failed_check() -> Result<()> {
    let app = app()?;
    let error = anyhow!("line 3: expected a string").context("failed to read the settings");
    let check = unusable(
        &app.name,
        &error,
        "sudoedit /etc/pullpray/todo.toml".to_owned(),
    );
    assert_eq!((check.id, check.status), ("app.settings", Status::Fail));
    assert_eq!(
        check.message,
        "failed to read the settings: line 3: expected a string"
    );
    assert_eq!(check.remediation, ["sudoedit /etc/pullpray/todo.toml"]);
    let json = serde_json::to_value(Report {
        schema: SCHEMA,
        version: "1",
        checks: &[check],
    })?;
    assert_eq!(json["checks"][0]["status"], "fail");
    Ok(())
}
