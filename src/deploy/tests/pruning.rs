//! What deployments remove, and what they keep.

use std::fs;

use anyhow::{Result, ensure};

use super::Site;
use crate::deploy::control;
use crate::layout;

#[test]
fn the_newest_releases_are_kept_and_their_environments() -> Result<()> {
    let site = Site::live()?;
    for version in ["three", "four"] {
        site.commit(version, &[("requirements.txt", version)])?;
        site.poll()?;
        site.settled(version)?;
        assert_eq!(site.ledger()?.releases().len(), 2);
    }
    assert_eq!(site.names(&site.app.venvs())?.len(), 2);
    Ok(())
}

#[test]
fn the_live_and_the_previous_release_are_kept_however_old() -> Result<()> {
    let mut site = Site::live()?;
    site.app.limits.keep = 3;
    site.deploys("three")?;
    site.with_poll(|poll| control::rollback(poll, Some(&site.ledger()?.releases()[0].id), "ann"))?;
    site.app.limits.keep = 2;
    site.with_poll(control::resume)?;
    site.deploys("four")?;
    let ledger = site.ledger()?;
    let mut kept: Vec<_> = ledger
        .releases()
        .iter()
        .map(|r| r.subject.as_str())
        .collect();
    kept.sort_unstable();
    assert_eq!(
        kept,
        ["four", "one"],
        "what was live before was rolled back to"
    );
    Ok(())
}

#[test]
fn a_release_that_a_kept_environment_imports_from_stays() -> Result<()> {
    let mut site = Site::live()?;
    site.app.limits.keep = 3;
    let one = site.ledger()?.releases()[0].clone();
    let packages = site
        .app
        .venvs()
        .join(&one.venv)
        .join("lib/python3.11/site-packages");
    let code = format!("{}/src\n", site.app.releases().join(&one.id).display());
    site.test.put(packages.join("x.pth"), &code, 0o644)?;
    for version in ["three", "four", "five"] {
        ensure!(site.dir_of(&one).exists(), "it is gone before {version}");
        site.commit(version, &[])?;
        site.poll()?;
        let live = site.live_release()?;
        ensure!(live.venv != one.venv, "code of another release is deployed");
    }
    // Version two, which shared that environment, is not kept any more.
    site.settled("five")
}

#[test]
fn leftovers_are_removed_by_a_poll_with_nothing_to_deploy() -> Result<()> {
    let site = Site::live()?;
    let dirs = [site.app.releases(), site.app.venvs()];
    for (dir, left) in dirs
        .iter()
        .zip(["20200101T000000-1234567", "py3.9-system-12345678"])
    {
        site.test.put(dir.join(left).join("file"), "", 0o644)?;
    }
    site.poll()?;
    site.settled("two")?;
    // What somebody else put there is not pullpray's to remove.
    for dir in &dirs {
        site.test.put(dir.join("mine/file"), "", 0o644)?;
    }
    for version in ["three", "four"] {
        site.commit(version, &[])?;
        site.poll()?;
    }
    for dir in &dirs {
        ensure!(site.test.real(dir.join("mine/file")).exists());
        fs::remove_dir_all(site.test.real(dir.join("mine")))?;
    }
    site.settled("four")
}

#[test]
fn logs_are_bounded() -> Result<()> {
    let site = Site::live()?;
    let logs = layout::logs(&site.app.name);
    for number in 0..60 {
        site.test.put(
            logs.join(format!("20200101T{number:06}-old.log")),
            "",
            0o644,
        )?;
    }
    site.deploys("three")?;
    let kept = site.names(&logs)?;
    assert_eq!(kept.len(), 50);
    ensure!(
        kept.iter()
            .any(|name| name.starts_with(&site.live_release().unwrap().id))
    );
    Ok(())
}

#[test]
fn what_cannot_be_removed_does_not_hide_a_deployment() -> Result<()> {
    let site = Site::live()?;
    let mirror = site.test.real(layout::mirror(&site.app.name));
    fs::create_dir(site.test.real(layout::logs(&site.app.name)).join("0"))?;
    for number in 0..60 {
        let log = layout::logs(&site.app.name).join(format!("20200101T{number:06}-old.log"));
        site.test.put(log, "", 0o644)?;
    }
    site.commit("three", &[])?;
    site.poll()?;
    assert_eq!(site.shows()?, "three");
    let said = site.said.lock().expect("no panic").join("\n");
    ensure!(
        said.contains("old releases could not be removed: failed to remove"),
        "{said}"
    );
    ensure!(mirror.exists());
    Ok(())
}

#[test]
fn a_static_file_is_served_as_long_as_a_kept_release_has_it() -> Result<()> {
    let site = Site::live()?;
    let published = |name: &str| site.test.real(site.app.static_dir.as_path().join(name));
    let made = "mkdir .static/d && echo 1 >.static/d/prices.csv && echo mine >.static/robots.txt";
    site.commit("three", &[("script", made)])?;
    site.poll()?;
    site.settled("three")?;
    // Somebody else's, though a release had one of that name.
    fs::remove_file(published("robots.txt"))?;
    fs::write(published("robots.txt"), "own\n")?;
    fs::write(published("foreign.txt"), "")?;
    site.deploys("four")?;
    ensure!(
        published("d/prices.csv").exists(),
        "the previous release has it"
    );
    site.deploys("five")?;
    ensure!(!published("d").exists(), "no release has it");
    ensure!(published("robots.txt").exists() && published("foreign.txt").exists());
    Ok(())
}
