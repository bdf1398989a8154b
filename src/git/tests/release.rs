//! Checkouts, and descriptions of commits.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::host::Host;
use crate::git::{Mirror, MirrorError};
use crate::host::Size;

/// Maps each path to its mode, and its content or link target.
fn snapshot(dir: &Path) -> Result<BTreeMap<PathBuf, (u32, Vec<u8>)>> {
    let mut found = BTreeMap::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(at) = todo.pop() {
        for entry in fs::read_dir(at)? {
            let path = entry?.path();
            let meta = path.symlink_metadata()?;
            let content = if meta.is_symlink() {
                fs::read_link(&path)?.as_os_str().as_bytes().to_vec()
            } else if meta.is_dir() {
                if path.file_name() == Some(OsStr::new(".git")) {
                    continue;
                }
                todo.push(path.clone());
                Vec::new()
            } else {
                fs::read(&path)?
            };
            found.insert(
                path.strip_prefix(dir)?.to_owned(),
                (meta.permissions().mode(), content),
            );
        }
    }
    Ok(found)
}

fn write_special_files(host: &Host) -> Result<()> {
    let work = host.path("work");
    host.write(
        ".gitattributes",
        b"*.crlf text eol=crlf\n*.txt text\n*.bin -text\n*.id ident\n",
    )?;
    // Sorts before .gitattributes, at the top and below.
    host.write("!a.crlf", b"one\ntwo\n")?;
    host.write("sub/!a.lf", b"one\r\ntwo\r\n")?;
    host.write("sub/.gitattributes", b"*.lf text eol=crlf\n")?;
    host.write("sub/b.lf", b"one\ntwo\n")?;
    host.write("z.crlf", b"one\ntwo\n")?;
    host.write("z.txt", b"one\ntwo\n")?;
    host.write("z.bin", b"one\r\ntwo\n\0")?;
    host.write("v.id", b"$Id$\n")?;
    host.write("empty", b"")?;
    host.write("run.sh", b"#!/bin/sh\n")?;
    fs::set_permissions(work.join("run.sh"), fs::Permissions::from_mode(0o755))?;
    symlink("run.sh", work.join("link"))?;
    symlink("/nowhere/at all", work.join("dangling"))?;
    fs::create_dir_all(work.join(OsStr::from_bytes(b"d\xe9j\xe0")))?;
    fs::write(
        work.join(OsStr::from_bytes(b"d\xe9j\xe0/vu \xff\n.txt")),
        "latin\n",
    )?;
    Ok(())
}

#[test]
fn a_checkout_equals_that_of_git() -> Result<()> {
    let host = Host::new()?;
    write_special_files(&host)?;
    host.git(".", &["init", "-q", "other"])?;
    host.git("other", &["commit", "-q", "--allow-empty", "-m", "x"])?;
    host.git("work", &["add", "-A"])?;
    let id = host.git("other", &["rev-parse", "HEAD"])?;
    host.git(
        "work",
        &[
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("160000,{id},vendor/module"),
        ],
    )?;
    host.git("work", &["commit", "-q", "-m", "awkward"])?;
    fs::create_dir_all(host.path("work/vendor/module"))?;
    host.git("work", &["push", "-q", "origin", "HEAD:main"])?;
    host.git(".", &["clone", "-q", "repo.git", "clone"])?;

    let mirror = Mirror::open_or_init(&host.path("mirror"))?;
    let oid = mirror.fetch(&host.remote(), "refs/heads/main")?;
    for release in ["release1", "release2"] {
        let release = host.path(release);
        fs::create_dir(&release)?;
        mirror.checkout(oid, &release)?;
        assert_eq!(snapshot(&release)?, snapshot(&host.path("clone"))?);
        assert!(!release.join(".git").exists());
        assert!(
            matches!(mirror.checkout(oid, &release), Err(MirrorError::Io(..))),
            "not empty"
        );
    }
    assert!(mirror.checkout(oid, Path::new("relative")).is_err());
    assert!(mirror.checkout(oid, &host.path("absent")).is_err());
    assert_eq!(mirror.submodules(oid)?, [PathBuf::from("vendor/module")]);
    Ok(())
}

#[test]
fn modes_follow_the_umask() -> Result<()> {
    // In its own process: all threads share the umask.
    const MARK: &str = "PULLPRAY_TEST_UMASK_AT";
    let checkout = |dir: &Path| -> Result<()> {
        let mirror = Mirror::open_or_init(&dir.join("mirror"))?;
        let release = dir.join("release");
        fs::create_dir(&release)?;
        let oid = mirror.repo.refname_to_id("refs/pullpray/tip")?;
        Ok(mirror.checkout(oid, &release)?)
    };
    if let Ok(dir) = std::env::var(MARK) {
        return checkout(Path::new(&dir));
    }
    let host = Host::new()?;
    write_special_files(&host)?;
    host.push("awkward")?;
    Mirror::open_or_init(&host.path("mirror"))?.fetch(&host.remote(), "refs/heads/main")?;
    let exe = std::env::current_exe()?;
    let dir = host.dir.path();
    let both = format!(
        "umask 0002; cd {}; git clone -q repo.git clone; exec {} modes_follow_the_umask",
        dir.display(),
        exe.display()
    );
    let done = std::process::Command::new("sh")
        .args(["-c", &both])
        .env(MARK, dir)
        .stdout(std::process::Stdio::null())
        .status()?;
    assert!(done.success());
    let release = snapshot(&host.path("release"))?;
    assert_eq!(release, snapshot(&host.path("clone"))?);
    assert_eq!(release[Path::new("run.sh")].0 & 0o777, 0o775);
    Ok(())
}

#[test]
fn contents_can_be_read() -> Result<()> {
    let host = Host::new()?;
    host.write("manage.py", b"print()\n")?;
    host.write("app/x.py", b"12345")?;
    fs::write(host.path("work").join(OsStr::from_bytes(b"\xff.txt")), "l")?;
    symlink("x", host.path("work/link"))?;
    let oid = host.push("\x1b[31mred\x07\nmore")?;
    let mirror = Mirror::open_or_init(&host.path("mirror"))?;
    mirror.fetch(&host.remote(), "refs/heads/main")?;
    assert_eq!(mirror.commit(oid)?.subject, "[31mred");
    let names: Vec<_> = mirror
        .blobs(oid, &|_| true)?
        .iter()
        .map(|(p, _)| p.as_os_str().as_bytes().to_vec())
        .collect();
    assert_eq!(
        names,
        [
            b"README".to_vec(),
            b"app/x.py".to_vec(),
            b"link".to_vec(),
            b"manage.py".to_vec(),
            b"\xff.txt".to_vec()
        ]
    );
    assert_eq!(
        mirror.size(oid)?,
        Size {
            files: 5,
            bytes: 3 + 5 + 1 + 8 + 1
        }
    );
    let read = |path: &str| mirror.read_file(oid, Path::new(path));
    assert_eq!(read("app/x.py")?.as_deref(), Some(b"12345".as_slice()));
    assert_eq!(
        (read("app")?, read("none")?, read("app/x.py/y")?),
        (None, None, None)
    );
    assert!(matches!(
        mirror.commit(git2::Oid::from_bytes(&[2; 20])?),
        Err(MirrorError::Missing(_))
    ));
    Ok(())
}

#[test]
fn files_that_need_a_filter_are_found() -> Result<()> {
    let host = Host::new()?;
    let mirror = Mirror::open_or_init(&host.path("mirror"))?;
    let attributes = b"*.png filter=lfs\n*.key secret\n\
        open.key !filter\n*.txt text\n*.ps1 working-tree-encoding=UTF-16\n*.u8 working-tree-encoding=UTF-8\n";
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n";
    host.commit("plain.png", "no filter yet")?;
    let before = mirror.fetch(&host.remote(), "refs/heads/main")?;
    assert!(mirror.unfiltered(before)?.is_empty());
    host.write(
        ".gitattributes",
        b"[attr]secret filter=git-crypt diff=git-crypt\n",
    )?;
    host.write("sub/.gitattributes", attributes)?;
    host.write("sub/w.ps1", b"\xff\xfet\0")?;
    host.write("sub/a.png", pointer)?;
    host.write("sub/real.png", b"\x89PNG")?;
    for name in [
        "sub/d/b.key",
        "sub/open.key",
        "sub/w.u8",
        "sub/z.txt",
        "above.key",
    ] {
        host.write(name, b"text\n")?;
    }
    host.write("sub/empty.key", b"")?;
    symlink("b.key", host.path("work/sub/link.key"))?;
    host.git("work", &["add", "-A"])?;
    host.git("work", &["commit", "-q", "-m", "filtered"])?;
    host.git("work", &["push", "-q", "origin", "HEAD:main"])?;
    let oid = mirror.fetch(&host.remote(), "refs/heads/main")?;
    let found = mirror.unfiltered(oid)?;
    let expected = [
        ("git-crypt", "sub/d/b.key"),
        ("lfs", "sub/a.png"),
        ("working-tree-encoding", "sub/w.ps1"),
    ];
    let expected = expected.map(|(name, path)| (name.to_owned(), vec![PathBuf::from(path)]));
    assert_eq!(found, BTreeMap::from(expected));
    Ok(())
}
