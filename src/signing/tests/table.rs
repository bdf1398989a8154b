//! Many commits, tags and lists, each judged by git and by pullpray: git's verdict is the expected one.

use std::collections::BTreeSet;

use git2::Oid;

use super::repository::Repo;
use super::*;

mod keys;
mod lists;
mod times;

use keys::{certificates, keys, made_elsewhere};
use lists::{lines, signatures, tags};
use times::{conditions, dates};

/// What git accepts and pullpray refuses. git does not compare the name of a tag; a git host could offer an old tag under
/// a new one.
const RENAMED: &[&str] = &["renamed tag"];

/// As above. git verifies a commit without a readable date as if it were made now.
const UNDATED: &[&str] = &[
    "dated 1970",
    "dated before 1970",
    "dated in words",
    "without a date",
];

struct Table {
    repo: Repo,
    accepted: usize,
    refused: usize,
    stricter: BTreeSet<String>,
    disagree: Vec<String>,
}

impl Table {
    /// Compares the verdicts about a commit.
    fn commit(&mut self, case: &str, commit: Oid, list: &str) -> Result<bool> {
        let git = self.repo.git_trusts("verify-commit", commit, list)?;
        // What cannot be read is refused too.
        let ours = self.repo.verified(commit, list);
        let ours = ours.unwrap_or_else(|error| Signature::Refused(format!("{error:#}")));
        self.compare(case, git, &ours)
    }

    /// Compares the verdicts about a signed tag.
    fn tag(&mut self, case: &str, tag: Oid, name: &str, list: &str) -> Result<bool> {
        let git = self.repo.git_trusts("verify-tag", tag, list)?;
        let head = self.repo.id("HEAD")?;
        let ours = self.repo.verified_tag(head, tag, name, list);
        let ours = ours.unwrap_or_else(|error| Signature::Refused(format!("{error:#}")));
        self.compare(case, git, &ours)
    }

    fn compare(&mut self, case: &str, git: bool, ours: &Signature) -> Result<bool> {
        match (git, ours) {
            (true, Signature::Trusted(_)) => self.accepted += 1,
            (false, Signature::Refused(_)) => self.refused += 1,
            (true, Signature::Refused(_)) if [RENAMED, UNDATED].concat().contains(&case) => {
                self.stricter.insert(case.to_owned());
            }
            _ => self
                .disagree
                .push(format!("{case}: git {git}, pullpray {ours:?}")),
        }
        Ok(git)
    }

    /// All of these lists permit the commit, or none of them.
    fn lists(&mut self, accepted: bool, commit: Oid, lists: &[(&str, String)]) -> Result<()> {
        for (case, list) in lists {
            assert_eq!(self.commit(case, commit, list)?, accepted, "{case}");
        }
        Ok(())
    }
}

/// Compares these parts of the table; returns how many were accepted and refused.
fn compare(parts: &[fn(&mut Table) -> Result<()>], stricter: &[&str]) -> Result<(usize, usize)> {
    let mut table = Table {
        repo: Repo::new()?,
        accepted: 0,
        refused: 0,
        stricter: BTreeSet::new(),
        disagree: Vec::new(),
    };
    for part in parts {
        part(&mut table)?;
    }
    assert!(table.disagree.is_empty(), "{:#?}", table.disagree);
    let seen: Vec<&str> = table.stricter.iter().map(String::as_str).collect();
    assert_eq!(seen, stricter, "sorted");
    Ok((table.accepted, table.refused))
}

#[test]
fn keys_and_certificates_count_as_they_do_for_git() -> Result<()> {
    let (accepted, refused) = compare(&[keys, made_elsewhere, certificates], &[])?;
    assert!(accepted >= 20 && refused >= 30, "{accepted} {refused}");
    Ok(())
}

#[test]
fn lists_and_signatures_are_read_as_git_reads_them() -> Result<()> {
    let (accepted, refused) = compare(&[lines, signatures, tags], RENAMED)?;
    assert!(accepted >= 30 && refused >= 35, "{accepted} {refused}");
    Ok(())
}

#[test]
fn times_count_as_they_do_for_git() -> Result<()> {
    let (accepted, refused) = compare(&[conditions, dates], UNDATED)?;
    assert!(accepted >= 30 && refused >= 30, "{accepted} {refused}");
    Ok(())
}

#[test]
fn they_count_so_in_other_time_zones() -> Result<()> {
    for zone in ["America/St_Johns", "Pacific/Kiritimati"] {
        let output = std::process::Command::new(std::env::current_exe()?)
            .args([
                "--exact",
                "signing::tests::table::times_count_as_they_do_for_git",
            ])
            .env("TZ", zone)
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(
            text.contains("1 passed") && output.status.success(),
            "{zone}: {text}"
        );
    }
    Ok(())
}
