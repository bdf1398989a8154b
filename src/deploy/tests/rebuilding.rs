//! Damaged and missing state.

use std::fs;

use anyhow::{Context, Result, ensure};

use super::{Site, report};
use crate::deploy::control;
use crate::layout;
use crate::report::PollOutcome;
use crate::state::sha256;

fn ledger(site: &Site) -> std::path::PathBuf {
    site.test.real(layout::ledger(&site.app.name))
}

fn rebuilt(site: &Site) -> Result<String> {
    let outcome = site.poll()?;
    let PollOutcome::StateRebuilt(what, _) = &outcome else {
        anyhow::bail!("{outcome:?}");
    };
    ensure!(
        report(site, &outcome)
            .0
            .starts_with(&format!("todo: {what}\n"))
    );
    // What was moved aside is kept; everything else is as ever.
    let state = site.test.real(layout::state(&site.app.name));
    for name in site.names(&layout::state(&site.app.name))? {
        if name.contains(".damaged-") {
            fs::remove_file(state.join(name))?;
        }
    }
    Ok(what.clone())
}

#[test]
fn a_damaged_ledger_is_moved_aside_and_rebuilt() -> Result<()> {
    let site = Site::live()?;
    let before = site.ledger()?;
    fs::write(ledger(&site), "{\"format\": 1, \"live\"")?;
    let what = rebuilt(&site)?;
    ensure!(
        what.contains(
            "ledger.json was damaged and is kept as /var/lib/pullpray/todo/ledger.json.damaged-"
        ),
        "{what}"
    );
    ensure!(
        what.contains("whether deployments were paused is unknown"),
        "{what}"
    );
    let after = site.ledger()?;
    let ids = |it: &crate::state::ledger::Ledger| -> Vec<(String, String)> {
        it.releases()
            .iter()
            .map(|r| (r.id.clone(), r.commit.clone()))
            .collect()
    };
    assert_eq!(ids(&after), ids(&before));
    assert_eq!(
        after.previous().map(|r| &r.subject),
        before.previous().map(|r| &r.subject)
    );
    site.settled("two")?;
    site.deploys("three")
}

#[test]
fn readable_parts_of_a_damaged_ledger_stay() -> Result<()> {
    let site = Site::live()?;
    site.with_poll(|poll| control::pause(poll, "ann", "holidays"))?;
    let text = fs::read_to_string(ledger(&site))?;
    let harmed = text.replacen("\"commit\": \"", "\"commit\": \"x", 1);
    ensure!(harmed != text);
    fs::write(ledger(&site), harmed)?;
    let what = rebuilt(&site)?;
    ensure!(
        what.ends_with("; paused (holidays) until: pullpray resume todo"),
        "{what}"
    );
    assert_eq!(site.ledger()?.history().deployments().len(), 2);
    site.settled("two")
}

#[test]
fn a_pause_that_is_only_seen_in_the_text_counts() -> Result<()> {
    let site = Site::live()?;
    site.with_poll(|poll| control::pause(poll, "ann", "holidays"))?;
    let text = fs::read_to_string(ledger(&site))?;
    fs::write(ledger(&site), &text[..text.len() - 10])?;
    let what = rebuilt(&site)?;
    ensure!(
        what.contains("paused (deployments were paused before the ledger was damaged)"),
        "{what}"
    );
    site.settled("two")
}

#[test]
fn a_missing_ledger_is_rebuilt_and_a_rollback_holds() -> Result<()> {
    let site = Site::live()?;
    site.with_poll(|poll| control::rollback(poll, None, "ann"))?;
    fs::remove_file(ledger(&site))?;
    let what = rebuilt(&site)?;
    ensure!(
        what.contains("ledger.json was missing, and was rebuilt"),
        "{what}"
    );
    ensure!(
        what.contains("a newer release than the live one exists"),
        "{what}"
    );
    site.settled("one")
}

#[test]
fn without_the_mirror_the_commits_are_fetched_again() -> Result<()> {
    let site = Site::live()?;
    let before = site.live_release()?.commit;
    fs::remove_file(ledger(&site))?;
    fs::remove_dir_all(site.test.real(layout::mirror(&site.app.name)))?;
    site.remote.fail_with(Some(super::unreachable()));
    let error = site.poll().err().context("the commits are unknown")?;
    ensure!(error.to_string().contains("could not reach"), "{error:#}");
    site.remote.fail_with(None);
    rebuilt(&site)?;
    assert_eq!(site.live_release()?.commit, before);
    site.settled("two")
}

#[test]
fn what_is_no_link_or_no_release_is_not_believed() -> Result<()> {
    let site = Site::live()?;
    let current = site.test.real(site.app.current());
    fs::remove_file(&current)?;
    fs::create_dir(&current)?;
    for name in ["nonsense", "20261123T100000-abcdef0"] {
        fs::create_dir(site.test.real(site.app.releases().join(name)))?;
    }
    fs::write(ledger(&site), vec![b' '; 2 << 20])?;
    let outcome = site.poll();
    let text = format!("{outcome:?}");
    ensure!(
        text.contains("current was not a link and is kept as"),
        "{text}"
    );
    fs::remove_dir(
        site.test.real(
            site.names(site.app.project_dir.as_path())?
                .iter()
                .find(|name| name.contains(".damaged-"))
                .map(|name| site.app.project_dir.as_path().join(name))
                .context("nothing is kept")?,
        ),
    )?;
    fs::remove_file(
        site.test.real(
            site.names(&layout::state(&site.app.name))?
                .iter()
                .find(|name| name.contains(".damaged-"))
                .map(|name| layout::state(&site.app.name).join(name))
                .context("nothing is kept")?,
        ),
    )?;
    site.poll()?;
    // Nor is it removed.
    fs::remove_dir(site.test.real(site.app.releases().join("nonsense")))?;
    site.settled("two")
}

#[test]
fn another_format_is_left_alone() -> Result<()> {
    let site = Site::live()?;
    fs::write(ledger(&site), "{\"format\": 2}")?;
    let error = site.poll().err().context("it was read")?;
    ensure!(error.to_string().contains("has format 2"), "{error:#}");
    assert_eq!(fs::read_to_string(ledger(&site))?, "{\"format\": 2}");
    Ok(())
}

#[test]
fn a_damaged_mirror_is_fetched_again() -> Result<()> {
    let site = Site::live()?;
    site.commit("three", &[])?;
    let mirror = site.test.real(layout::mirror(&site.app.name));
    std::fs::write(mirror.join("HEAD"), "nonsense")?;
    site.poll()?;
    site.settled("three")?;
    // Objects that are lost are noticed only when the commit is checked as a whole.
    let objects = mirror.join("objects/pack");
    for entry in std::fs::read_dir(&objects)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "pack") {
            std::fs::write(path, "nonsense")?;
        }
    }
    site.commit("four", &[])?;
    site.poll()?;
    site.settled("four")
}

#[test]
fn a_mirror_with_a_damaged_file_is_fetched_again() -> Result<()> {
    let site = Site::live()?;
    // Too random to be compressed: the middle of its pack is this file.
    let large: String = (0..2000).map(|n: u32| sha256(&n.to_le_bytes())).collect();
    for (path, next) in [
        ("media.txt", "three"),
        ("Procfile", "five"),
        ("requirements.txt", "seven"),
    ] {
        let lines = large.as_bytes().chunks(64);
        let lines: Vec<_> = lines
            .map(|it| format!("# {}\n", String::from_utf8_lossy(it)))
            .collect();
        site.commit(&format!("before {next}"), &[(path, &lines.concat())])?;
        site.poll()?;
        let packs = site
            .test
            .real(layout::mirror(&site.app.name).join("objects/pack"));
        let mut damaged = 0;
        for entry in std::fs::read_dir(&packs)? {
            let path = entry?.path();
            let mut bytes = std::fs::read(&path)?;
            if path.extension().is_some_and(|it| it == "pack") && bytes.len() > 50_000 {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 0x55;
                std::fs::write(path, bytes)?;
                damaged += 1;
            }
        }
        ensure!(damaged > 0, "nothing was damaged");
        site.commit(next, &[])?;
        let outcome = site.poll()?;
        ensure!(
            matches!(outcome, PollOutcome::Deployed { .. }),
            "{outcome:?}"
        );
        site.settled(next)?;
    }
    Ok(())
}
