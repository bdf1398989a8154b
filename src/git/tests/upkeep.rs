//! Damage and compaction.

use std::fs;
use std::path::Path;

use anyhow::Result;
use git2::ObjectType;

use super::host::{Host, noise};
use crate::git::{Mirror, MirrorError};

const MAIN: &str = "refs/heads/main";

type Damage = fn(&Path) -> Result<()>;

fn damaged<T>(result: &Result<T, MirrorError>) -> bool {
    matches!(result, Err(MirrorError::Damaged(_)))
}

fn files(dir: &Path, extension: &str) -> Result<Vec<std::path::PathBuf>> {
    let paths = fs::read_dir(dir)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    Ok(paths
        .into_iter()
        .filter(|p| p.extension() == Some(extension.as_ref()))
        .collect())
}

#[test]
fn incomplete_repositories_are_detected() -> Result<()> {
    let host = Host::new()?;
    let path = host.path("mirror");
    fs::create_dir(&path)?;
    Mirror::open_or_init(&path)?;
    for victim in ["HEAD", "objects", "refs"] {
        let copy = host.path(victim);
        Mirror::open_or_init(&copy)?;
        let gone = copy.join(victim);
        if gone.is_dir() {
            fs::remove_dir_all(gone)?;
        } else {
            fs::remove_file(gone)?;
        }
        assert!(damaged(&Mirror::open_or_init(&copy)), "{victim}");
    }
    let empty = host.path("empty-head");
    Mirror::open_or_init(&empty)?;
    fs::write(empty.join("HEAD"), "")?;
    assert!(damaged(&Mirror::open_or_init(&empty)), "an empty HEAD");
    if nix::unistd::geteuid().is_root() {
        let theirs = host.path("theirs");
        Mirror::open_or_init(&theirs)?;
        fs::write(theirs.join("x.lock"), "")?;
        std::os::unix::fs::chown(&theirs, Some(65534), None)?;
        let answer = Mirror::open_or_init(&theirs);
        assert!(matches!(answer, Err(MirrorError::NotOurs(_))), "{answer:?}");
        assert!(theirs.join("x.lock").exists(), "nothing was changed");
    }
    fs::write(path.join("config"), "[core\n\0")?;
    assert!(damaged(&Mirror::open_or_init(&path)));
    fs::write(host.path("file"), "")?;
    assert!(matches!(
        Mirror::open_or_init(&host.path("file")),
        Err(MirrorError::Io(..))
    ));
    fs::create_dir(host.path("interrupted.new"))?;
    fs::write(host.path("interrupted.new/HEAD"), "")?;
    Mirror::open_or_init(&host.path("interrupted"))?;
    Ok(())
}

#[test]
fn a_corrupt_object_store_is_detected() -> Result<()> {
    let host = Host::new()?;
    host.write("big", &noise(200_000))?;
    let tip = host.push("big")?;
    let damages: [Damage; 5] = [
        |pack| {
            let mut bytes = fs::read(pack)?;
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x55;
            Ok(fs::write(pack, bytes)?)
        },
        |pack| Ok(fs::write(pack, "")?),
        |pack| Ok(fs::File::options().write(true).open(pack)?.set_len(1000)?),
        |pack| Ok(fs::remove_file(pack)?),
        |pack| Ok(fs::write(pack.with_extension("idx"), "")?),
    ];
    for (number, damage) in damages.iter().enumerate() {
        let path = host.path(&format!("mirror{number}"));
        let mirror = Mirror::open_or_init(&path)?;
        mirror.fetch(&host.remote(), MAIN)?;
        drop(mirror);
        for pack in files(&path.join("objects/pack"), "pack")? {
            fs::set_permissions(&pack, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
            let _ = fs::set_permissions(
                pack.with_extension("idx"),
                std::os::unix::fs::PermissionsExt::from_mode(0o644),
            );
            damage(&pack)?;
        }
        let detected = match Mirror::open_or_init(&path) {
            Ok(mirror) => {
                let release = host.path(&format!("release{number}"));
                fs::create_dir(&release)?;
                assert!(
                    mirror.checkout(tip, &release).is_err(),
                    "{number}: it must not be checked out"
                );
                !mirror.has_whole(tip)
            }
            other => damaged(&other),
        };
        assert!(detected, "damage {number}");
    }
    let path = host.path("mirror-ref");
    Mirror::open_or_init(&path)?.fetch(&host.remote(), MAIN)?;
    fs::write(path.join("refs/pullpray/tip"), "")?;
    assert!(
        damaged(&Mirror::open_or_init(&path)),
        "an empty reference after a power cut"
    );
    Ok(())
}

#[test]
fn many_packs_are_merged() -> Result<()> {
    let host = Host::new()?;
    let path = host.path("mirror");
    let mirror = Mirror::open_or_init(&path)?;
    let packs = path.join("objects/pack");
    mirror.fetch(&host.remote(), MAIN)?;
    let rewritten = host.commit("gone", "gone")?;
    mirror.fetch(&host.remote(), MAIN)?;
    host.git("work", &["reset", "-q", "--hard", "HEAD~1"])?;
    assert!(!mirror.compact(&[])?, "nothing to do yet");
    for number in 0..22 {
        host.commit("README", &format!("number {number}"))?;
        mirror.fetch(&host.remote(), MAIN)?;
    }
    host.git("work", &["tag", "-a", "-m", "t", "v1"])?;
    host.git("work", &["push", "-q", "origin", "v1"])?;
    let tip = mirror.fetch(&host.remote(), "refs/tags/v1")?;
    assert!(files(&packs, "pack")?.len() > 20);
    assert!(mirror.compact(&[rewritten, git2::Oid::from_bytes(&[3; 20])?])?);
    assert_eq!(
        (files(&packs, "pack")?.len(), files(&packs, "idx")?.len()),
        (1, 1)
    );
    assert!(!path.join("compact.new").exists());
    for mirror in [mirror, Mirror::open_or_init(&path)?] {
        assert!(mirror.has_whole(tip) && mirror.has_whole(rewritten));
        assert!(!mirror.compact(&[])?);
        assert_eq!(mirror.fetch(&host.remote(), MAIN)?, tip);
        assert_eq!(mirror.is_descendant(tip, rewritten)?, Some(false));
    }
    host.git("mirror", &["fsck", "--strict", "--full"])?;
    Ok(())
}

#[test]
fn a_damaged_mirror_is_not_compacted() -> Result<()> {
    let host = Host::new()?;
    let path = host.path("mirror");
    let mirror = Mirror::open_or_init(&path)?;
    for number in 0..22 {
        host.commit("README", &format!("number {number}"))?;
        mirror.fetch(&host.remote(), MAIN)?;
    }
    drop(mirror);
    let packs = files(&path.join("objects/pack"), "pack")?;
    let oldest = packs
        .iter()
        .min_by_key(|p| p.metadata().and_then(|m| m.modified()).ok());
    if let Some(pack) = oldest {
        fs::remove_file(pack)?;
    }
    let mirror = Mirror::open_or_init(&path)?;
    let before = files(&path.join("objects/pack"), "pack")?;
    assert!(damaged(&mirror.compact(&[])));
    assert_eq!(files(&path.join("objects/pack"), "pack")?, before);
    Ok(())
}

/// libgit2 recurses into trees, and a history may contain refused commits with trees of any depth.
#[test]
fn a_history_with_deep_trees_can_be_packed() -> Result<()> {
    let host = Host::new()?;
    let path = host.path("mirror");
    let mirror = Mirror::open_or_init(&path)?;
    let odb = mirror.repo.odb()?;
    let memory = odb.add_new_mempack_backend(1000)?;
    let blob = odb.write(ObjectType::Blob, b"x")?;
    let mut entry = [b"100644 x\0", blob.as_bytes()].concat();
    for _ in 0..30_000 {
        let tree = odb.write(ObjectType::Tree, &entry)?;
        entry = [b"40000 d\0", tree.as_bytes()].concat();
    }
    let text = format!(
        "tree {}\nauthor A <a> 1 +0000\ncommitter A <a> 1 +0000\n\ndeep\n",
        odb.write(ObjectType::Tree, &entry)?
    );
    let commit = odb.write(ObjectType::Commit, text.as_bytes())?;
    mirror
        .repo
        .reference("refs/pullpray/tip", commit, true, "")?;
    for number in 0..21 {
        fs::write(path.join(format!("objects/pack/{number}.pack")), "")?;
    }
    assert!(mirror.compact(&[])?);
    memory.reset()?;
    assert!(mirror.commit(commit).is_ok() && !mirror.has_whole(commit));
    assert_eq!(files(&path.join("objects/pack"), "pack")?.len(), 1);
    Ok(())
}
