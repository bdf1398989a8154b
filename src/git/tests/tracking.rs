//! Tracking a branch, tags, or one commit.

use anyhow::{Context, Result, bail};
use git2::Oid;

use super::host::{Host, RUN, RUN_V0};
use crate::app::Track;
use crate::git::{Mirror, MirrorError, Newest, describe_readable, newest};

fn branch(name: &str) -> Result<Track> {
    Ok(Track::Branch(name.parse()?))
}
fn tags(pattern: &str) -> Result<Track> {
    Ok(Track::Tag(pattern.parse()?))
}
fn commit(oid: Oid) -> Result<Track> {
    Ok(Track::Commit(oid.to_string().parse()?))
}
fn shown(host: &Host, track: &Track) -> Result<Newest> {
    newest(&host.remote(), track)?.context("nothing is shown")
}

#[test]
fn the_newest_of_a_branch_and_of_tags_in_v2_and_in_v0() -> Result<()> {
    let host = Host::new()?;
    let first = Oid::from_str(&host.git("work", &["rev-parse", "HEAD"])?)?;
    for name in ["v1.9.0", "v1.2.0", "release-3.0.0", "vnext"] {
        host.git("work", &["tag", name])?;
    }
    let second = host.commit("README", "two")?;
    host.git("work", &["tag", "-a", "-m", "t", "v1.10.0"])?;
    host.git("work", &["tag", "v2.0.0-rc.1"])?;
    host.git("work", &["push", "-q", "--tags", "origin"])?;
    let object = Oid::from_str(&host.git("work", &["rev-parse", "v1.10.0"])?)?;
    for script in [RUN, RUN_V0] {
        host.script(script)?;
        let main = shown(&host, &branch("main")?)?;
        assert_eq!(
            (main.name.as_str(), main.object, main.commit),
            ("main", second, second)
        );
        assert_eq!(newest(&host.remote(), &branch("gone")?)?, None);
        let annotated = Newest {
            name: "v1.10.0".into(),
            reference: Some("refs/tags/v1.10.0".into()),
            object,
            commit: second,
            skipped: vec![
                "v2.0.0-rc.1 matches v* and is a pre-release, which the pattern does not select"
                    .into(),
                "vnext matches v* and is not a version".into(),
            ],
        };
        assert_eq!(shown(&host, &tags("v*")?)?, annotated);
        let described =
            describe_readable(&host.remote(), &tags("v*")?)?.context("not described")?;
        assert!(
            described.contains("; v2.0.0-rc.1 matches v* and is a pre-release")
                && described.ends_with(" and 1 more are never selected"),
            "{described}"
        );
        let light = shown(&host, &tags("v1.?.*")?)?;
        assert_eq!(
            (light.name.as_str(), light.object, light.commit),
            ("v1.9.0", first, first)
        );
        assert_eq!(shown(&host, &tags("release-*")?)?.commit, first);
        assert_eq!(shown(&host, &tags("vnext")?)?.commit, first);
        assert_eq!(newest(&host.remote(), &tags("x*")?)?, None);
    }
    Ok(())
}

#[test]
fn read_access_is_checked_even_for_a_commit() -> Result<()> {
    let host = Host::new()?;
    let first = Oid::from_str(&host.git("work", &["rev-parse", "HEAD"])?)?;
    let short = &first.to_string()[..7];
    let description = |track: &Track| describe_readable(&host.remote(), track);
    assert_eq!(
        description(&branch("main")?)?,
        Some(format!("main at {short}"))
    );
    assert_eq!(description(&branch("gone")?)?, None);
    assert_eq!(description(&tags("v*")?)?, None);
    let commit = commit(first)?;
    assert_eq!(
        description(&commit)?,
        Some(format!("the repository of {short}"))
    );
    host.script("echo 'git@h: Permission denied (publickey).' >&2; exit 255")?;
    assert!(description(&commit).is_err());
    Ok(())
}

#[test]
fn fetching_a_tag_fetches_its_object_and_its_commit() -> Result<()> {
    let host = Host::new()?;
    host.git("work", &["tag", "-a", "-m", "t", "v1.0.0"])?;
    host.git("work", &["tag", "-a", "-m", "of a tag", "v1.1.0", "v1.0.0"])?;
    host.git("work", &["push", "-q", "--tags", "origin"])?;
    let shown = shown(&host, &tags("v*")?)?;
    let mirror = Mirror::open_or_init(&host.path("mirror"))?;
    let commit = mirror.fetch(&host.remote(), shown.reference.as_deref().context("none")?)?;
    assert_eq!((commit, mirror.fetched()?), (shown.commit, shown.object));
    assert_ne!(commit, shown.object);
    Ok(())
}

#[test]
fn a_tag_on_something_other_than_a_commit_is_not_damage() -> Result<()> {
    let host = Host::new()?;
    let file = host.git("work", &["rev-parse", "HEAD:README"])?;
    host.git("work", &["tag", "v1.0.0", &file])?;
    host.git("work", &["tag", "-a", "-m", "t", "v1.1.0", "HEAD^{tree}"])?;
    host.git("work", &["push", "-q", "--tags", "origin"])?;
    let mirror = Mirror::open_or_init(&host.path("mirror"))?;
    for name in ["refs/tags/v1.0.0", "refs/tags/v1.1.0"] {
        match mirror.fetch(&host.remote(), name) {
            Err(MirrorError::NotACommit(found)) => assert_eq!(found, name),
            other => bail!("{other:?}"),
        }
    }
    // The mirror can still be opened.
    Mirror::open_or_init(&host.path("mirror"))?;
    Ok(())
}

#[test]
fn a_commit_is_fetched_by_its_id_or_found_among_branches_and_tags() -> Result<()> {
    let host = Host::new()?;
    let old = host.commit("README", "two")?;
    host.git("work", &["checkout", "-q", "-b", "side"])?;
    host.write("side", b"side")?;
    host.git("work", &["add", "-A"])?;
    host.git("work", &["commit", "-q", "-m", "side"])?;
    let side = Oid::from_str(&host.git("work", &["rev-parse", "HEAD"])?)?;
    host.git("work", &["push", "-q", "origin", "side"])?;
    host.git("work", &["checkout", "-q", "main"])?;
    let tip = host.commit("README", "three")?;
    // Hosts that serve no commit by id, only those that a branch or a tag points to, or all reachable ones.
    for (setting, allowed) in [
        ("none", ""),
        ("TipSHA1", "side"),
        ("ReachableSHA1", "side, old"),
    ] {
        let setting = format!("uploadpack.allow{setting}InWant");
        host.git("repo.git", &["config", &setting, "true"])?;
        for script in [RUN, RUN_V0] {
            host.script(script)?;
            for wanted in [old, side] {
                let path = host.path("mirror");
                let mirror = Mirror::open_or_init(&path)?;
                let shown = shown(&host, &commit(wanted)?)?;
                assert_eq!((shown.commit, shown.reference), (wanted, None));
                mirror.fetch_commit(&host.remote(), wanted)?;
                assert!(mirror.has_whole(wanted));
                assert_eq!(mirror.fetched()?, wanted);
                let name = if wanted == old { "old" } else { "side" };
                let more = mirror.has_whole(tip);
                assert_eq!(
                    more,
                    !allowed.contains(name),
                    "commits that were not requested"
                );
                std::fs::remove_dir_all(path)?;
            }
            let mirror = Mirror::open_or_init(&host.path("mirror"))?;
            let nobody = Oid::from_bytes(&[1; 20])?;
            match mirror.fetch_commit(&host.remote(), nobody) {
                Err(MirrorError::NoReference(name)) => assert!(name.contains(&nobody.to_string())),
                other => bail!("{allowed}: {other:?}"),
            }
            drop(mirror);
            std::fs::remove_dir_all(host.path("mirror"))?;
        }
    }
    Ok(())
}

#[test]
fn a_commit_in_the_mirror_is_not_requested() -> Result<()> {
    let host = Host::new()?;
    let first = Oid::from_str(&host.git("work", &["rev-parse", "HEAD"])?)?;
    host.commit("README", "two")?;
    let mirror = Mirror::open_or_init(&host.path("mirror"))?;
    mirror.fetch(&host.remote(), "refs/heads/main")?;
    host.script("echo called >> called; exit 255")?;
    mirror.fetch_commit(&host.remote(), first)?;
    assert_eq!(mirror.fetched()?, first);
    assert_eq!(shown(&host, &commit(first)?)?.commit, first);
    Ok(())
}

#[test]
fn a_failed_request_is_not_a_missing_commit() -> Result<()> {
    let host = Host::new()?;
    let mirror = Mirror::open_or_init(&host.path("mirror"))?;
    host.script("echo 'git@h: Permission denied (publickey).' >&2; exit 255")?;
    let answer = mirror.fetch_commit(&host.remote(), Oid::from_bytes(&[1; 20])?);
    assert!(matches!(answer, Err(MirrorError::Remote(_))), "{answer:?}");
    Ok(())
}
