//! Commits that are refused, git hosts that do not answer, and polls that yield.

use anyhow::{Context, Result, ensure};

use super::{Site, report, unreachable};
use crate::decide::Verdict;
use crate::exit::Exit;
use crate::git::RemoteError;
use crate::layout;
use crate::report::PollOutcome;
use crate::state::refusal::Why;

/// Whether it was refused for that reason, and reported.
fn refused(outcome: &PollOutcome, why: fn(&Why) -> bool) -> Result<bool> {
    match outcome {
        PollOutcome::Skipped(Verdict::Refused { refusal, report }) if why(&refusal.why) => {
            Ok(*report)
        }
        other => anyhow::bail!("{other:?}"),
    }
}

#[test]
fn a_rewritten_history_is_refused_once_if_the_settings_say_so() -> Result<()> {
    let site = Site::with_settings("allow_rewind = false\n")?;
    site.deploys("one")?;
    let commit = site.commit_onto(None, "rewritten", &[])?;
    let rewritten = |why: &Why| matches!(why, Why::NotDescendant { .. });
    let outcome = site.poll()?;
    assert!(refused(&outcome, rewritten)?);
    let (text, exit) = report(&site, &outcome);
    ensure!(
        text.contains("history was rewritten") && exit == Exit::Failed,
        "{text}"
    );
    site.settled("one")?;
    // Not fetched again: the git host may refuse that now.
    site.test.changes();
    assert!(!refused(&site.poll()?, rewritten)?);
    ensure!(
        !site
            .test
            .changes()
            .iter()
            .any(|it| it.ends_with("mirror.git"))
    );
    assert_eq!(
        site.ledger()?.refused().map(|it| it.commit.clone()),
        Some(commit)
    );
    assert!(
        refused(&site.poll_now()?, rewritten)?,
        "a person sees it again"
    );
    assert!(site.ledger()?.failures().is_empty(), "no attempt is used");
    let live = site.live_release()?.commit.parse()?;
    site.commit_onto(Some(live), "two", &[])?;
    site.poll()?;
    assert_eq!(site.ledger()?.refused(), None);
    site.settled("two")
}

#[test]
fn a_rewritten_history_is_noted_otherwise() -> Result<()> {
    let site = Site::live()?;
    site.commit_onto(None, "rewritten", &[])?;
    let PollOutcome::Deployed {
        note: Some(note), ..
    } = site.poll()?
    else {
        anyhow::bail!("no note");
    };
    ensure!(note.starts_with("history was rewritten: "), "{note}");
    site.settled("rewritten")
}

#[test]
fn a_connection_dropped_before_the_key_exchange_is_tried_once_more() -> Result<()> {
    let site = Site::live()?;
    let dropped = |stderr: &str| RemoteError::Ssh {
        stderr: stderr.to_owned(),
        exit: Some(255),
    };
    let busy = "kex_exchange_identification: Connection closed by remote host";
    site.commit("three", &[])?;
    let set =
        |error: &RemoteError| *site.remote.next.lock().expect("no panic") = Some(error.clone());
    set(&dropped(busy));
    site.poll()?;
    site.settled("three")?;
    // Twice in a row, or for another reason, it is an outage.
    site.remote.fail_with(Some(dropped(busy)));
    let failed = |outcome: PollOutcome| matches!(outcome, PollOutcome::Unreachable { .. });
    ensure!(failed(site.poll()?));
    site.remote.fail_with(None);
    set(&dropped("Connection closed by 10.0.0.1 port 22"));
    ensure!(failed(site.poll()?));
    site.deploys("four")
}

#[test]
fn translations_that_nobody_compiles_are_noted_once() -> Result<()> {
    let site = Site::live()?;
    let note = |name: &str, files: &[(&str, &str)]| -> Result<Option<String>> {
        site.commit(name, files)?;
        let PollOutcome::Deployed { note, .. } = site.poll()? else {
            anyhow::bail!("{name} was not deployed");
        };
        Ok(note)
    };
    let (po, mo) = (
        "locale/de/LC_MESSAGES/django.po",
        "locale/de/LC_MESSAGES/django.mo",
    );
    assert_eq!(note("compiled", &[(po, "x"), (mo, "y")])?, None);
    let other = "locale/fr/LC_MESSAGES/django.po";
    let said = note("not compiled", &[(other, "x")])?.context("no note")?;
    ensure!(
        said.starts_with(other) && said.contains("compilemessages"),
        "{said}"
    );
    assert_eq!(note("still not", &[(other, "z")])?, None);
    note("none", &[])?;
    // Somebody's script compiles them.
    let script = site.app.deploy_script();
    let text = std::fs::read_to_string(site.test.real(&script))?;
    site.test
        .put(&script, &format!("{text}\n# compilemessages\n"), 0o755)?;
    assert_eq!(note("by the script", &[(other, "a")])?, None);
    Ok(())
}

#[test]
fn a_closed_window_is_recorded_and_not_reported() -> Result<()> {
    // The clock starts on a Monday.
    let site = Site::with_settings("deploy_window = \"Sat 02:00-03:00\"\n")?;
    site.deploys("one")
        .context("a first release waits for no window")?;
    site.commit("two", &[])?;
    let closed = |why: &Why| matches!(why, Why::OutsideWindow { .. });
    assert!(!refused(&site.poll()?, closed)?);
    site.poll_now()?;
    site.settled("two").context("--now")
}

#[test]
fn a_file_that_is_too_large_is_refused_once() -> Result<()> {
    let site = Site::with_settings("max_file = 1\n")?;
    site.deploys("one")?;
    site.commit("two", &[("large", &"x".repeat(2 << 20))])?;
    let unfit = |why: &Why| matches!(why, Why::Unfit { .. });
    assert!(refused(&site.poll()?, unfit)?);
    assert!(!refused(&site.poll()?, unfit)?);
    assert!(refused(&site.poll_now()?, unfit)?);
    site.settled("one")?;
    site.deploys("three")
}

#[test]
fn files_that_need_a_filter_are_refused_once_by_name() -> Result<()> {
    let mut site = Site::live()?;
    site.commit(
        "three",
        &[
            (".gitattributes", "*.key filter=git-crypt\n"),
            ("a.key", "\0GITCRYPT"),
        ],
    )?;
    let unfit = |why: &Why| matches!(why, Why::Unfit { .. });
    let outcome = site.poll()?;
    assert!(refused(&outcome, unfit)?);
    let (text, _) = report(&site, &outcome);
    ensure!(
        text.contains("\"git-crypt\"") && text.contains("as stored: a.key;"),
        "{text}"
    );
    assert!(!refused(&site.poll()?, unfit)?);
    site.app.limits.accept_filters = vec!["git-crypt".to_owned()];
    site.poll_now()?;
    site.settled("three")
}

#[test]
fn nothing_is_trusted_without_the_list_of_signers() -> Result<()> {
    let mut site = Site::live()?;
    site.app.limits.signed_by = vec!["/etc/pullpray/todo.signers".parse()?];
    site.commit("three", &[])?;
    let untrusted = |why: &Why| matches!(why, Why::NotTrusted { .. });
    assert!(refused(&site.poll()?, untrusted)?);
    site.app.limits.signed_by = Vec::new();
    site.poll()?;
    site.settled("three")
}

#[test]
fn an_outage_is_reported_at_the_third_poll_and_when_it_ends() -> Result<()> {
    let site = Site::live()?;
    site.commit("three", &[])?;
    site.remote.fail_with(Some(unreachable()));
    for number in 1..=5 {
        let outcome = site.poll()?;
        let PollOutcome::Unreachable { outage, report } = &outcome else {
            anyhow::bail!("{outcome:?}");
        };
        assert_eq!((outage.polls, *report), (number, number == 3));
        assert_eq!(super::report(&site, &outcome).1, Exit::Unreachable);
        site.settled("two")?;
    }
    site.remote.fail_with(None);
    let outcome = site.poll()?;
    let (text, _) = report(&site, &outcome);
    ensure!(
        text.starts_with("todo: the git host is reachable again, after 5 polls in a row\n"),
        "{text}"
    );
    assert_eq!(site.ledger()?.outage(), None);
    site.settled("three")?;
    // Also when there is nothing to deploy, and once.
    site.remote.fail_with(Some(unreachable()));
    for _ in 0..3 {
        site.poll()?;
    }
    site.remote.fail_with(None);
    let (text, exit) = report(&site, &site.poll()?);
    assert_eq!(exit, Exit::Success);
    assert_eq!(
        text,
        "todo: the git host is reachable again, after 3 polls in a row\n"
    );
    assert_eq!(report(&site, &site.poll()?).0, "");
    Ok(())
}

#[test]
fn a_branch_that_is_gone_is_an_outage() -> Result<()> {
    let mut site = Site::live()?;
    site.app.track = crate::app::Track::Branch("other".parse()?);
    let outcome = site.poll()?;
    ensure!(
        matches!(outcome, PollOutcome::Unreachable { .. }),
        "{outcome:?}"
    );
    site.settled("two")
}

#[test]
fn a_poll_yields_to_others() -> Result<()> {
    let site = Site::live()?;
    site.commit("three", &[])?;
    let held = site.test.server.lock(&layout::state(&site.app.name))?;
    assert!(matches!(site.poll()?, PollOutcome::Busy));
    drop(held);
    site.remote.fail_with(Some(RemoteError::Preempted));
    assert!(matches!(site.poll()?, PollOutcome::Busy));
    assert_eq!(site.ledger()?.outage(), None);
    site.remote.fail_with(None);
    site.poll()?;
    site.settled("three")
}

#[test]
fn the_repository_is_inspected_for_init() -> Result<()> {
    let site = Site::new()?;
    let manage = "os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'todo.settings')\n";
    let commit = site.commit("one", &[("manage.py", manage), ("wsgi.py", "")])?;
    let found = site.with_poll(crate::deploy::inspect)?;
    assert_eq!((found.commit, found.subject), (commit, "one".to_owned()));
    let settings = vec!["todo.settings".to_owned()];
    let first = ("wsgi".to_owned(), settings.clone());
    assert_eq!(found.wsgi.first(), Some(&first));
    assert_eq!(found.manage_settings, settings);
    assert!(found.manage);
    let held = site.test.server.lock(&layout::state(&site.app.name))?;
    ensure!(
        site.with_poll(crate::deploy::inspect).is_err(),
        "a poll runs"
    );
    drop(held);
    site.remote.fail_with(Some(RemoteError::Preempted));
    ensure!(site.with_poll(crate::deploy::inspect).is_err());
    Ok(())
}

#[test]
fn a_lock_file_without_its_program_waits_and_uses_no_attempt() -> Result<()> {
    let site = Site::live()?;
    let commit = site.commit("three", &[("poetry.lock", "")])?;
    let (text, exit) = report(&site, &site.poll()?);
    assert!(
        text.contains("refused")
            && text.contains("poetry.lock needs poetry, which is not installed on this server")
            && text.contains("poetry export --only main"),
        "{text}"
    );
    assert_eq!(exit, Exit::Failed);
    assert_eq!(report(&site, &site.poll()?).0, "", "it is reported once");
    assert!(site.ledger()?.failure(&commit).is_none());
    site.settled("two")?;
    site.test.put_program("/usr/local/bin/poetry", "")?;
    site.poll()?;
    assert_eq!(site.live_release()?.commit, commit);
    Ok(())
}

#[test]
fn requirements_that_are_cloned_over_ssh_are_refused_with_their_line() -> Result<()> {
    let site = Site::live()?;
    let lib = "django\n-e git+ssh://git@github.com/acme/lib.git#egg=lib\n";
    let files = [("requirements.txt", "-r base.txt\n"), ("base.txt", lib)];
    let commit = site.commit("three", &files)?;
    let (text, exit) = report(&site, &site.poll()?);
    assert!(
        text.contains("line 2 of base.txt is cloned over ssh") && text.contains("./wheels/"),
        "{text}"
    );
    assert_eq!(exit, Exit::Failed);
    assert!(site.ledger()?.failure(&commit).is_none());
    site.settled("two")?;
    // A deploy script that brings its own key may clone it.
    let script = site.test.real(site.app.deploy_script());
    let own = format!("{}\n# GIT_SSH_COMMAND\n", std::fs::read_to_string(&script)?);
    std::fs::write(&script, own)?;
    let (text, _) = report(&site, &site.poll()?);
    assert_eq!(site.live_release()?.commit, commit, "{text}");
    Ok(())
}

#[test]
fn a_server_whose_sudo_refuses_uses_up_no_attempt_and_is_reported_once() -> Result<()> {
    let site = Site::live()?;
    let refuse = |words: Option<&str>| {
        site.test.units.table().sudo_refuses = words.map(str::to_owned);
    };
    refuse(Some("sudo: sorry, you must have a tty to run sudo"));
    site.commit("three", &[])?;
    let (text, exit) = report(&site, &site.poll()?);
    ensure!(text.contains("sudo: sorry, you must have a tty"), "{text}");
    ensure!(
        text.contains("hint: the server refuses, whatever the commit"),
        "{text}"
    );
    assert_eq!(exit, Exit::Failed);
    assert_eq!(report(&site, &site.poll()?), (String::new(), Exit::Success));
    // The site is down, too: the live commit does not lose an attempt either.
    site.systemctl("stop", &site.service())
        .err()
        .context("sudo worked")?;
    refuse(None);
    site.systemctl("stop", &site.service())?;
    refuse(Some(
        "sudo: account validation failure, is your account locked?",
    ));
    let error = site.poll().err().context("it was started")?;
    ensure!(
        format!("{error:#}").contains("is your account locked?"),
        "{error:#}"
    );
    assert_eq!(site.ledger()?.failures(), []);
    refuse(None);
    site.poll()?;
    site.settled("three")
}
