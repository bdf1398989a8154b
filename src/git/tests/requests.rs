//! Listing references, and checking write access.

use std::fs;

use anyhow::{Result, bail};
use git2::Oid;

use super::host::{Host, RUN, RUN_V0};
use crate::git::{RemoteError, SshRemote, WriteAccess, refs, tip, write_access};
use crate::state::remote::RemoteErrorKind;

pub(super) const MAIN: &str = "refs/heads/main";

pub(super) fn failed<T: std::fmt::Debug>(answer: Result<T, RemoteError>) -> Result<RemoteError> {
    match answer {
        Ok(value) => bail!("an error was expected, not {value:?}"),
        Err(error) => Ok(error),
    }
}

#[test]
fn tip_in_v2_and_in_v0() -> Result<()> {
    let host = Host::new()?;
    let first = Oid::from_str(&host.git("work", &["rev-parse", "HEAD"])?)?;
    host.git(
        "work",
        &[
            "push",
            "-q",
            "origin",
            "HEAD:main2",
            "HEAD:a/refs/heads/main",
        ],
    )?;
    host.git("work", &["tag", "-a", "-m", "t", "v1"])?;
    host.git("work", &["tag", "light"])?;
    host.git("work", &["push", "-q", "origin", "v1", "light"])?;
    let second = host.commit("README", "two")?;
    let tag = Oid::from_str(&host.git("work", &["rev-parse", "v1"])?)?;
    for script in [RUN, RUN_V0] {
        host.script(script)?;
        let remote = host.remote();
        assert_eq!(tip(&remote, MAIN)?, Some(second));
        assert_eq!(tip(&remote, "refs/heads/main2")?, Some(first));
        assert_eq!(tip(&remote, "refs/heads/mai")?, None);
        assert_eq!(tip(&remote, "refs/heads/gone")?, None);
        assert_eq!(
            tip(&remote, "refs/tags/v1")?,
            Some(first),
            "a tag is followed"
        );
        assert_eq!(tip(&remote, "HEAD")?, Some(second));
        let tags = refs(&remote, "refs/tags/")?;
        let expected = [
            ("refs/tags/light".to_owned(), first, None),
            ("refs/tags/v1".to_owned(), tag, Some(first)),
        ];
        assert_eq!(tags, expected);
        assert_eq!(refs(&remote, "refs/nothing/")?, []);
    }
    Ok(())
}

#[test]
fn protocol_v2_is_requested_and_v1_is_understood() -> Result<()> {
    let host = Host::new()?;
    host.script("test \"$GIT_PROTOCOL\" = version=2 || exit 9\ncase \"$*\" in *'-o SendEnv=GIT_PROTOCOL'*' -- host-repo-app git-upload-pack '*) ;; *) exit 8;; esac\nGIT_PROTOCOL=version=1; for last; do :; done\nexec sh -c \"$last\"\n")?;
    assert!(tip(&host.remote(), MAIN)?.is_some());
    Ok(())
}

#[test]
fn an_empty_repository_has_no_tip() -> Result<()> {
    let host = Host::new()?;
    host.git(".", &["init", "-q", "--bare", "empty.git"])?;
    for script in [RUN, RUN_V0] {
        host.script(script)?;
        assert_eq!(tip(&host.remote_at(&host.path("empty.git")), MAIN)?, None);
    }
    Ok(())
}

#[test]
fn special_characters_in_paths_reach_the_host() -> Result<()> {
    let host = Host::new()?;
    let odd = host.path("it's $(touch bad) \"x\"! .git");
    fs::rename(host.path("repo.git"), &odd)?;
    assert!(tip(&host.remote_at(&odd), MAIN)?.is_some());
    Ok(())
}

#[test]
fn hosts_and_paths_that_look_like_options_are_refused() -> Result<()> {
    let host = Host::new()?;
    let good = host.remote();
    for (name, path) in [
        ("-oProxyCommand=x", "a"),
        ("h", "-x"),
        ("h\n", "a"),
        ("h", "a\nb"),
        ("h", "a\0"),
        ("", "a"),
        ("h", ""),
        ("a b", "a"),
    ] {
        let remote = SshRemote {
            host: name.into(),
            path: path.into(),
            ..good.clone()
        };
        assert!(
            matches!(tip(&remote, MAIN), Err(RemoteError::Invalid(_))),
            "{name:?} {path:?}"
        );
    }
    assert!(matches!(
        tip(&good, "refs/heads/a b"),
        Err(RemoteError::Invalid(_))
    ));
    assert!(matches!(
        refs(&good, "refs/\n"),
        Err(RemoteError::Invalid(_))
    ));
    Ok(())
}

#[test]
fn a_missing_repository_is_refused_by_the_host() -> Result<()> {
    let host = Host::new()?;
    let error = failed(tip(&host.remote_at(&host.path("no.git")), MAIN))?;
    assert!(matches!(error, RemoteError::Refused { .. }), "{error:?}");
    assert_eq!(error.kind(), RemoteErrorKind::NoRepository);
    host.script("printf '001cERR Repository not found'; exit 0")?;
    let error = failed(tip(&host.remote(), MAIN))?;
    assert_eq!(
        error,
        RemoteError::Refused {
            message: "Repository not found".into()
        }
    );
    Ok(())
}

#[test]
fn errors_contain_the_stderr_of_ssh() -> Result<()> {
    let host = Host::new()?;
    host.script("echo 'git@h: Permission denied (publickey).' >&2; exit 255")?;
    let error = failed(tip(&host.remote(), MAIN))?;
    let stderr = "git@h: Permission denied (publickey).".to_owned();
    assert_eq!(
        error,
        RemoteError::Ssh {
            stderr,
            exit: Some(255)
        }
    );
    assert_eq!(error.kind(), RemoteErrorKind::Permission);
    host.script("exit 255")?;
    assert_eq!(
        failed(tip(&host.remote(), MAIN))?.to_string(),
        "ssh failed (exit status 255) without a message"
    );
    host.script(
        "i=0; while [ $i -lt 20000 ]; do echo $i line of chatter; i=$((i+1)); done >&2; exit 255",
    )?;
    let message = failed(tip(&host.remote(), MAIN))?.to_string();
    assert!(message.ends_with("19999 line of chatter") && message.len() < 9000);
    let gone = SshRemote {
        ssh: host.path("none"),
        ..host.remote()
    };
    assert!(matches!(
        tip(&gone, MAIN),
        Err(RemoteError::Ssh { exit: None, .. })
    ));
    Ok(())
}

#[test]
fn greetings_and_truncated_responses_are_errors() -> Result<()> {
    let host = Host::new()?;
    host.script("echo 'Welcome to web1'; exec sh -c \"$9\"")?;
    let error = failed(tip(&host.remote(), MAIN))?;
    assert!(error.to_string().contains("Welcome to web1"), "{error}");
    for answer in [
        "",
        "000eversion 2",
        "000eversion 2\\n000cls-refs\\n",
        "003f",
        "fff9",
        "000eversion 2\\n0000",
    ] {
        host.script(&format!("printf '{answer}'; exit 0"))?;
        let error = failed(tip(&host.remote(), MAIN))?;
        assert!(
            matches!(error, RemoteError::Protocol(_)),
            "{answer}: {error:?}"
        );
    }
    host.script("yes 0032$(printf '%040d' 1) refs/x | tr -d '\\n'")?;
    assert!(
        tip(&host.impatient(), MAIN).is_err(),
        "an endless answer ends"
    );
    Ok(())
}

#[test]
fn write_access_is_read_only_writable_or_unproven() -> Result<()> {
    let host = Host::new()?;
    assert_eq!(write_access(&host.remote())?, WriteAccess::Writable);
    let before = fs::read_dir(host.path("repo.git/objects"))?.count();
    let refusing = |words: &str, exit: i32| {
        host.script(&format!(
            "case \"$*\" in *git-receive-pack*) {words}; exit {exit};; esac\n{RUN}"
        ))
    };
    for words in [
        "ERROR: The key you are authenticating with has been marked as read only.",
        "ERROR: This deploy key does not have write access to this project.",
        "repository access denied. access via a deployment key is read-only.",
        "FATAL: W any apps/todo web DENIED by fallthru",
    ] {
        refusing(&format!("echo '{words}' >&2"), 1)?;
        assert_eq!(
            write_access(&host.remote())?,
            WriteAccess::ReadOnly(words.into())
        );
    }
    refusing("printf '002aERR access denied or not exported: x\\n'", 0)?;
    assert!(matches!(
        write_access(&host.remote())?,
        WriteAccess::Unproven(_)
    ));
    for odd in [
        "echo hello",
        "printf 0000",
        "true",
        "printf 0006hi",
        "echo 'ERROR: come back later' >&2",
    ] {
        refusing(odd, 1)?;
        let found = write_access(&host.remote())?;
        assert!(
            matches!(found, WriteAccess::Unproven(_)),
            "{odd}: {found:?}"
        );
    }
    refusing("echo 'Connection refused' >&2", 255)?;
    assert!(write_access(&host.remote()).is_err());
    assert_eq!(fs::read_dir(host.path("repo.git/objects"))?.count(), before);
    let missing = host.remote_at(&host.path("no.git"));
    host.script(RUN)?;
    assert!(write_access(&missing).is_err(), "unreadable proves nothing");
    Ok(())
}
