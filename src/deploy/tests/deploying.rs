//! Deployments that go live.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::{DEPLOY, Site, report};
use crate::app::Track;
use crate::decide::Verdict;
use crate::exit::Exit;
use crate::layout;
use crate::report::PollOutcome;

#[test]
fn the_first_release_and_the_next() -> Result<()> {
    let site = Site::new()?;
    let first = site.commit("one", &[])?;
    let outcome = site.poll()?;
    let PollOutcome::Deployed { from: None, to, .. } = &outcome else {
        anyhow::bail!("{outcome:?}");
    };
    assert_eq!(to.commit, first);
    site.settled("one")?;
    let (text, exit) = report(&site, &outcome);
    assert!(text.starts_with(&format!(
        "todo: first release → {} \"one\" live after",
        &first[..7]
    )));
    assert_eq!(exit, Exit::Success);
    let log = layout::logs(&site.app.name).join(format!("{}.log", to.id));
    let log = site.test.server.read_text(&log)?.context("no log")?;
    assert_eq!(log, "building one\n");

    site.test.changes();
    assert!(matches!(
        site.poll()?,
        PollOutcome::Skipped(Verdict::UpToDate)
    ));
    // Nothing new, so nothing that has to last.
    let touched = layout::answered(&site.app.name, true).display().to_string();
    assert_eq!(site.test.changes(), [touched]);
    let ledger = site.ledger()?;
    assert!(ledger.last_check().is_some() && ledger.last_check() == ledger.last_by_cron());
    assert_eq!(ledger.history().deployments().len(), 1);

    site.deploys("two")?;
    let ledger = site.ledger()?;
    assert_eq!(
        ledger.previous().map(|r| r.commit.as_str()),
        Some(first.as_str())
    );
    let venvs: Vec<_> = ledger.releases().iter().map(|r| &r.venv).collect();
    assert_eq!(venvs[0], venvs[1], "the same dependencies");
    Ok(())
}

#[test]
fn other_dependencies_get_another_environment() -> Result<()> {
    let site = Site::live()?;
    let before = site.live_release()?.venv;
    for (version, requirements) in [("three", "django==4\n"), ("four", "django==5\n")] {
        site.commit(version, &[("requirements.txt", requirements)])?;
        site.poll()?;
        site.settled(version)?;
        ensure!(site.live_release()?.venv != before);
    }
    // One that lost a package is not used again.
    let broken = site.live_release()?.venv;
    site.test
        .put(site.app.venvs().join(&broken).join("broken"), "", 0o644)?;
    site.commit("five", &[("requirements.txt", "django==5\n")])?;
    site.poll()?;
    site.settled("five")?;
    ensure!(site.live_release()?.venv.starts_with(&format!("{broken}-")));
    Ok(())
}

#[test]
fn a_release_that_installs_itself_gets_its_own_environment() -> Result<()> {
    let site = Site::live()?;
    for version in ["three", "four"] {
        site.commit(version, &[("requirements.txt", "-e .\n")])?;
        site.poll()?;
        site.settled(version)?;
        let live = site.live_release()?;
        ensure!(live.venv.ends_with(&live.id), "{live:?}");
    }
    Ok(())
}

#[test]
fn static_files_are_published_from_the_projects_own_directory_readable_for_all() -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::live()?;
    let made = "mkdir -m 750 -p out/css && echo x >out/css/a.css && chmod 640 out/css/a.css && chmod 750 out/css && \
        printf '[[\"STATIC_ROOT\",\"/var/www/projects/todo/releases/%s/out\",true]]' \"${PWD##*/}\" >writes";
    site.commit("three", &[("script", made)])?;
    site.poll()?;
    site.settled("three")?;
    let css = site.test.real(site.app.static_dir.as_path().join("css"));
    let access = |path: &std::path::Path| anyhow::Ok(path.metadata()?.permissions().mode() & 0o777);
    assert_eq!((access(&css)?, access(&css.join("a.css"))?), (0o775, 0o644));
    Ok(())
}

#[test]
fn static_files_that_are_links_are_named() -> Result<()> {
    let site = Site::live()?;
    // A line that systemd ignores is named, without its content.
    site.test.put(
        site.app.environment_file(),
        "A=1\nexport KEY=secret\n",
        0o640,
    )?;
    site.commit(
        "three",
        &[(
            "script",
            "echo 'note: no mail is sent'; ln -s /etc/passwd .static/users; mkdir .static/css; echo x >.static/css/a.css",
        )],
    )?;
    let PollOutcome::Deployed {
        note: Some(note), ..
    } = site.poll()?
    else {
        anyhow::bail!("no note");
    };
    assert_eq!(
        note,
        "/etc/pullpray/todo.env: line 2 begins with \"export\", which is a shell's: write NAME=value; \
         static files that are links are not published: users; no mail is sent"
    );
    site.settled("three")?;
    let published = site.names(site.app.static_dir.as_path())?;
    assert!(
        published.contains("css") && !published.contains("users"),
        "{published:?}"
    );
    Ok(())
}

#[test]
fn a_pinned_commit_stays() -> Result<()> {
    let mut site = Site::live()?;
    let first = site.ledger()?.releases()[0].commit.clone();
    site.app.track = Track::Commit(first.parse()?);
    site.commit("three", &[])?;
    let outcome = site.poll()?;
    ensure!(
        matches!(outcome, PollOutcome::Deployed { .. }),
        "{outcome:?}"
    );
    site.settled("one")
}

#[test]
fn the_database_is_migrated_once_the_release_is_complete() -> Result<()> {
    let site = Site::live()?;
    let script = format!(
        "# phases: build migrate\necho $1 >>../../shared/phases\nif [ $1 = build ]; then\n{DEPLOY}\nfi"
    );
    site.test.put_program(site.app.deploy_script(), &script)?;
    let phases = site.test.real(site.app.shared().join("phases"));
    // Nothing is migrated for a release that is refused.
    site.commit("three", &[("writes", "nonsense")])?;
    let outcome = site.poll()?;
    anyhow::ensure!(matches!(outcome, PollOutcome::Failed(_)), "{outcome:?}");
    assert_eq!(fs::read_to_string(&phases)?, "build\n");
    fs::remove_file(&phases)?;
    site.deploys("four")?;
    assert_eq!(fs::read_to_string(&phases)?, "build\nmigrate\n");
    Ok(())
}
