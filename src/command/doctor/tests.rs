use std::cell::{Cell, RefCell};

use anyhow::{Result, anyhow};

use super::examine::{POLL_PATIENCE, examine_between_polls};
use super::*;
use crate::app::Facts;
use crate::app::Settings;
use crate::error::WithHint;
use crate::host::Locked;
use crate::host::testing::TestServer;
use crate::provision::Problem;
use crate::state::ledger::Ledger;
use crate::state::remote::{RemoteErrorKind, RemoteFailure};

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
fn what_only_root_can_check_is_one_sentence() -> Result<()> {
    let app = app()?;
    let one = |hidden: bool, id: &'static str| Check {
        id,
        hidden,
        ..unusable(&app.name, &anyhow!("Permission denied"), "x".to_owned())
    };
    let checks = [
        one(true, "key.deploy"),
        one(false, "app.settings"),
        one(true, "sudo.rule"),
    ];
    let text = render(&app.name, &checks, false);
    let sentence = "  error only root can check key.deploy, sudo.rule\n        fix: sudo pullpray doctor todo\n";
    assert!(text.contains(sentence), "{text}");
    assert_eq!(text.matches("Permission denied").count(), 1, "{text}");
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
    let json: serde_json::Value = serde_json::from_str(&json(&[check])?)?;
    assert_eq!(json["checks"][0]["status"], "fail");
    Ok(())
}

#[test]
fn what_fails_while_a_poll_is_at_work_is_examined_again_after_it() -> Result<()> {
    let app = app()?;
    let steps = steps(&app);
    let test = TestServer::new()?;
    let (server, state) = (&test.server, layout::state(&app.name));
    std::fs::create_dir_all(test.real(&state))?;
    let examined = Cell::new(0);
    let report = |status: fn(usize) -> Status, poll: &RefCell<Option<Locked>>| {
        examined.set(0);
        let checks = examine_between_polls(server, &app.name, || {
            examined.set(examined.get() + 1);
            let free = matches!(server.lock(&state)?, Locked::Held(_));
            assert!(examined.get() == 1 || !free, "a poll could deploy");
            poll.take();
            let status = status(examined.get());
            Ok(vec![check(&app, &steps[0], status, "a unit".to_owned())])
        })?;
        anyhow::Ok((checks[0].status, examined.get()))
    };
    let down_at_first = |times| if times == 1 { Status::Fail } else { Status::Ok };
    let working = || Ok::<_, anyhow::Error>(RefCell::new(Some(server.lock(&state)?)));

    assert_eq!(report(down_at_first, &working()?)?, (Status::Ok, 2));
    assert_eq!(report(|_| Status::Fail, &working()?)?, (Status::Fail, 2));
    assert_eq!(report(|_| Status::Ok, &working()?)?, (Status::Ok, 1));
    let nobody = RefCell::new(None);
    assert_eq!(report(down_at_first, &nobody)?, (Status::Fail, 1));

    // A deployment that outlasts doctor's patience.
    let _working = server.lock(&state)?;
    let started = test.clock.monotonic();
    assert_eq!(report(down_at_first, &nobody)?, (Status::Fail, 1));
    assert_eq!(test.clock.monotonic(), started + POLL_PATIENCE);
    Ok(())
}

#[test]
fn a_poll_that_came_and_went_during_an_examination_is_noticed() -> Result<()> {
    let app = app()?;
    let steps = steps(&app);
    let host = TestServer::new()?;
    std::fs::create_dir_all(host.real(layout::state(&app.name)))?;
    let polls_at = |at: &str| {
        let text = serde_json::to_string(&Ledger::default())?;
        host.put(layout::ledger(&app.name), &text, 0o640)?;
        host.answered(&app.name, true, Some(at))
    };
    polls_at("2026-11-23T09:55:00Z")?;
    let examined = Cell::new(0);
    let checks = examine_between_polls(&host.server, &app.name, || {
        examined.set(examined.get() + 1);
        polls_at("2026-11-23T10:00:00Z")?;
        let status = if examined.get() == 1 {
            Status::Fail
        } else {
            Status::Ok
        };
        Ok(vec![check(&app, &steps[0], status, "a unit".to_owned())])
    })?;
    assert_eq!((checks[0].status, examined.get()), (Status::Ok, 2));
    Ok(())
}

#[test]
fn after_a_fix_an_outage_that_polls_recorded_before_it_is_no_failure() -> Result<()> {
    let app = app()?;
    let steps = steps(&app);
    let test = TestServer::new()?;
    let checks = || -> Result<Vec<Check>> {
        let steps = steps.iter();
        let of = |step| check(&app, step, Status::Fail, "down".to_owned());
        Ok(steps.map(of).collect())
    };
    let failing = |checks: &[Check]| {
        let all = checks.iter();
        all.filter(|check| check.status == Status::Fail).count()
    };
    let mut of = checks()?;
    let all = of.len();
    // Nothing but an outage is excused: cron may start no polls.
    await_poll(&test.server, &app, &mut of)?;
    assert_eq!(failing(&of), all);
    let mut ledger = Ledger::default();
    let why = RemoteFailure::new(RemoteErrorKind::Disconnected, "the agent has no key");
    let at = "2026-11-23T09:55:00Z".to_owned();
    ledger.unreachable(at, true, why, 3);
    let json = serde_json::to_string(&ledger)?;
    test.put(layout::ledger(&app.name), &json, 0o640)?;
    await_poll(&test.server, &app, &mut of)?;
    assert_eq!(failing(&of), all - 1);
    let poll = of.iter().find(|check| check.id == "poll.recent");
    let poll = poll.ok_or_else(|| anyhow!("no such check"))?;
    assert_eq!(poll.status, Status::Skip);
    assert_eq!(
        poll.message,
        "before the fix: down; the next poll shows whether it is over"
    );
    Ok(())
}

#[test]
fn the_remedy_of_an_unfinished_set_up_is_to_continue_it() -> Result<()> {
    let (app, test) = (app()?, TestServer::new()?);
    assert!(is_unfinished(&test.server, &app)?);
    let steps = steps(&app);
    let mut checks: Vec<Check> = [
        Finding::Absent("0644 root".to_owned()),
        Finding::ManualFix(problem()),
    ]
    .into_iter()
    .map(|finding| from_finding(&app, &steps[0], Ok(finding)))
    .collect();
    continue_set_up(&app, &mut checks);
    let remedies: Vec<_> = checks.iter().map(|check| &check.remediation[0]).collect();
    let go_on = "sudo pullpray init todo  # the set-up is unfinished";
    assert_eq!(remedies, [go_on, "sudo systemctl unmask x"]);
    test.put(app.cron(), "", 0o644)?;
    assert!(!is_unfinished(&test.server, &app)?);
    Ok(())
}
