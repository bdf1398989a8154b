//! Only what passed goes live, as the README says: CI moves a branch, or signs a tag. The jobs are the README's, and the
//! tests in them are Django's.

use anyhow::{Result, ensure};

use crate::ci::{JobFile, Runner};
use crate::lab::{Lab, Release, Todo};

/// A commit is red if its version says so.
const TESTS: &str = "from pathlib import Path\n\nfrom django.test import SimpleTestCase\n\n\nclass Green(SimpleTestCase):\n    \
    def test_version(self):\n        self.assertNotIn('red', Path('VERSION').read_text())\n";
/// While the host takes a push, another one moves the branch; once.
const RACE: &str = "#!/bin/sh\n[ -s /tmp/first ] || exit 0\nread commit </tmp/first; : >/tmp/first\n\
    env -u GIT_QUARANTINE_PATH git update-ref refs/heads/live \"$commit\"\n";

impl Todo {
    /// Polls, and expects what the page shows then; `deploys` if the poll has something to do.
    fn polled(&self, deploys: bool, shows: &str) -> Result<()> {
        let out = self.web.run("pullpray poll todo")?.ok()?;
        if deploys {
            out.says("live after")?;
        } else {
            out.silent()?;
        }
        let page = self.web.page("/")?;
        ensure!(page.shows(shows), "{shows}: {page:?}");
        Ok(())
    }

    fn at(&self, reference: &str) -> Result<String> {
        let out = self.repo.run(&format!(
            "git ls-remote --exit-code origin {reference} | cut -f1"
        ))?;
        Ok(out.trim().to_owned())
    }
}

#[test]
fn what_ci_moved_goes_live_in_whatever_order_jobs_end() -> Result<()> {
    let files = [
        JobFile::of(".github/workflows/live.yml", "live")?,
        JobFile::of(".gitlab-ci.yml", "live")?,
        JobFile::of(".gitea/workflows/live.yml", "live")?,
    ];
    let lab = Lab::new("passed")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    let ci = Runner::on(host, repo)?;
    let first = repo.commit(
        "Have tests",
        &[("items/tests.py", TESTS), ("VERSION", "green zero\n")],
    )?;
    ci.run(&files[0], &first)?.ok()?;
    ensure!(todo.at("live")? == first);
    web.run("pullpray init todo --branch live --yes && echo 'allow_rewind = false' >>/etc/pullpray/todo.toml")?
        .ok()?;
    web.run("pullpray poll todo")?.ok()?;
    ensure!(web.page("/")?.shows("green zero"));

    let mut live = "green zero".to_owned();
    for (n, file) in files.iter().enumerate() {
        // Pushed, and not tested yet; then red.
        let red = repo.push(&format!("red {n}"))?;
        todo.polled(false, &live)?;
        ci.is_red(file, &red)?;
        todo.polled(false, &live)?;
        // Two green ones on top of it, of which the later one ends first.
        let earlier = repo.push(&format!("green {n}, earlier"))?;
        live = format!("green {n}, later");
        let later = repo.push(&live)?;
        ci.run(file, &later)?.ok()?;
        todo.polled(true, &live)?;
        ci.run(file, &earlier)?.ok()?.says("[rejected]")?;
        ensure!(todo.at("live")? == later);
        // The red one's tests are started once more.
        ci.is_red(file, &red)?;
        todo.polled(false, &live)?;

        // In order, and at the same moment: the later push meets the earlier one.
        let earlier = repo.push(&format!("green {n}, first"))?;
        live = format!("green {n}, second");
        let later = repo.push(&live)?;
        host.write("/home/git/acme/todo.git/hooks/pre-receive", RACE)?;
        host.run(&format!(
            "chmod 755 /home/git/acme/todo.git/hooks/pre-receive; echo {earlier} >/tmp/first; chmod 666 /tmp/first"
        ))?
        .ok()?;
        ci.run(file, &later)?.ok()?.says("remote rejected")?;
        ensure!(todo.at("live")? == later);
        ensure!(host.read("/tmp/first")?.is_empty());
        host.run("rm /home/git/acme/todo.git/hooks/pre-receive")?
            .ok()?;
        todo.polled(true, &live)?;
        // Somebody's own commit on the branch: the job does not pass over it, and fails.
        let own = repo.run("git commit-tree -p HEAD~1 -m Own HEAD^{tree}")?;
        let own = own.trim();
        repo.run(&format!("git push -q --force origin {own}:refs/heads/live"))?;
        ci.run(file, &later)?.exits(1)?.says("[rejected]")?;
        repo.run(&format!(
            "git push -q --force origin {later}:refs/heads/live"
        ))?;
        todo.polled(false, &live)?;
    }

    // A job without the right to push fails.
    let last = repo.push("green at last")?;
    host.run("cp /home/git/.ssh/authorized_keys /root; sed -i 's/todo rw/todo ro/' /home/git/.ssh/authorized_keys")?
        .ok()?;
    for file in &files {
        let out = ci.run(file, &last)?;
        ensure!(out.status != 0, "{}", *out);
        out.says("marked as read only")?;
    }
    host.run("cat /root/authorized_keys >/home/git/.ssh/authorized_keys")?
        .ok()?;
    todo.polled(false, &live)?;
    // Whoever forces the branch back reaches the host only.
    repo.run(&format!(
        "git push -q --force origin {first}:refs/heads/live"
    ))?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("history was rewritten")?
        .says("allow_rewind = true")?;
    todo.polled(false, &live)?;
    ci.run(&files[0], &last)?.ok()?;
    todo.polled(true, "green at last")
}

#[test]
fn what_ci_signed_goes_live_and_nobody_else_s_tag() -> Result<()> {
    let files = [
        JobFile::of(".github/workflows/sign.yml", "sign")?,
        JobFile::of(".gitlab-ci.yml", "sign")?,
    ];
    let lab = Lab::new("signs")?;
    let todo = Todo::live(&lab, Release::Bookworm)?;
    let Todo { host, repo, web } = &todo;
    let ci = Runner::on(host, repo)?;
    let first = repo.commit(
        "Have tests",
        &[("items/tests.py", TESTS), ("VERSION", "green zero\n")],
    )?;
    ci.run(&files[0], &first)?.ok()?;
    web.write(
        "/etc/pullpray/todo.signers",
        &format!("ci@example.org {}", ci.public_key("SIGNING_KEY")?),
    )?;
    web.run("pullpray init todo --tag 'ci-*' --yes && echo 'signed_by = \"/etc/pullpray/todo.signers\"' >>/etc/pullpray/todo.toml")?
        .ok()?;
    web.run("pullpray poll todo")?.ok()?;
    ensure!(web.page("/")?.shows("green zero"));

    let mut live = "green zero".to_owned();
    for (n, file) in files.iter().enumerate() {
        let red = repo.push(&format!("red {n}"))?;
        ci.is_red(file, &red)?;
        todo.polled(false, &live)?;
        let earlier = repo.push(&format!("green {n}, earlier"))?;
        live = format!("green {n}, later");
        let later = repo.push(&live)?;
        ci.run(file, &later)?.ok()?;
        todo.polled(true, &live)?;
        // The one that ends late is signed too, with a lower number.
        ci.run(file, &earlier)?.ok()?;
        todo.polled(false, &live)?;
        // Once more, the tag exists.
        ci.run(file, &later)?.ok()?.says("refs/tags/ci-")?;
        todo.polled(false, &live)?;
        ensure!(
            repo.run("git ls-remote --refs --tags origin | wc -l")?
                .trim()
                == format!("{}", 1 + 2 * (n + 1))
        );
    }

    // Tags of others, with a key of their own or without one, on a commit that did not pass.
    repo.push("red at last")?;
    let key = "/home/runner/keys/other";
    host.run(&format!("install -o git -m 600 {key} /home/git/other"))?
        .ok()?;
    for (how, why) in [
        ("-m x ci-9998", "not signed"),
        (
            "-s -m x ci-9999",
            "which the list of allowed signers does not permit",
        ),
    ] {
        repo.run(&format!(
            "git -c gpg.format=ssh -c user.signingkey=/home/git/other tag {how} && git push -q --tags"
        ))?;
        web.run("pullpray poll todo")?.exits(1)?.says(why)?;
        todo.polled(false, &live)?;
    }
    // They hold up what follows, until they are deleted.
    let last = repo.push("green at last")?;
    ci.run(&files[0], &last)?.ok()?;
    todo.polled(false, &live)?;
    repo.run("git push -q --delete origin ci-9998 ci-9999")?;
    todo.polled(true, "green at last")
}
