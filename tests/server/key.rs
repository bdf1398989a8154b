//! Showing and rotating the deploy key; after an interruption anywhere, one of the two keys works.

use anyhow::{Result, ensure};

use crate::lab::{Access, GitHost, Lab, Release, Repository, Todo, WebServer};
use crate::power::quick;

const KEYS: &str = "/etc/ssh-agent-service/deploy-keys/todo_ed25519";
const ROTATE: &str = "pullpray key todo --rotate";

/// Makes the git host accept this key and no other.
fn set_only_key(host: &GitHost, repo: &Repository, key: &str) -> Result<()> {
    host.forget_keys()?;
    host.allow_key(repo, key, Access::ReadOnly)
}

/// A push goes live, and polls work after a restart of the agent, as after a boot.
fn assert_works(repo: &Repository, web: &WebServer, version: &str) -> Result<()> {
    repo.push(version)?;
    web.run("pullpray poll todo")?.ok()?.says("live after")?;
    web.run("systemctl restart ssh-agent.todo.service && pullpray poll todo -v")?
        .ok()?
        .says("up to date")?;
    Ok(())
}

#[test]
fn a_key_is_shown_and_rotated() -> Result<()> {
    let lab = Lab::new("rotate")?;
    let Todo { host, repo, web } = Todo::live(&lab, Release::Bookworm)?;
    let old = web.deploy_key("todo")?;
    web.run_as("nobody", "pullpray key todo")?
        .exits(2)?
        .says("sudo pullpray key todo")?;
    for user in ["root", "gunicorn"] {
        web.run_as(user, "pullpray key todo")?
            .ok()?
            .says(&format!("{}\nfingerprint  SHA256:", old.trim()))?
            .says("acme/todo on githost, read-only")?;
    }
    web.run_as("gunicorn", ROTATE)?
        .exits(2)?
        .says("sudo pullpray key todo --rotate")?;
    web.run("pullpray key nothing")?
        .exits(2)?
        .says("there is no app nothing")?;
    web.run("pullpray key todo --wait 5s")?.exits(2)?;

    // The old key has access and must not be mistaken for the next one.
    web.run(ROTATE)?
        .exits(3)?
        .says("not granted yet; githost says: ")?
        .says("continue with: sudo pullpray key todo --rotate")?;
    let next = web.read(&format!("{KEYS}.next.pub"))?;
    ensure!(next != old && next.starts_with("ssh-ed25519 "), "{next}");
    web.run(ROTATE)?.exits(3)?.says(next.trim())?;
    web.run("pullpray doctor todo")?
        .ok()?
        .says("a rotation to the next key has begun")?;
    assert_works(&repo, &web, "version two")?;

    host.allow_key(&repo, &next, Access::ReadWrite)?;
    web.run(ROTATE)?
        .exits(1)?
        .says("the next key has write access to acme/todo")?
        .says("without write access")?;
    ensure!(web.deploy_key("todo")? == old, "the old one stays in use");

    set_only_key(&host, &repo, &old)?;
    host.allow_key(&repo, &next, Access::ReadOnly)?;
    web.run(ROTATE)?
        .ok()?
        .says("push is refused")?
        .says("Remove it at githost too")?;
    ensure!(web.deploy_key("todo")? == next);
    set_only_key(&host, &repo, &next)?;
    assert_works(&repo, &web, "version three")?;
    web.run(&format!("ls {KEYS}.next*"))?.exits(2)?;
    web.run("pullpray doctor todo --strict")?.ok()?;

    // A policy that comes later excludes ed25519 keys.
    web.run("echo PubkeyAcceptedAlgorithms rsa-sha2-512 >/etc/ssh/ssh_config.d/10-policy.conf")?
        .ok()?;
    web.run("pullpray doctor todo --only key.deploy --strict")?
        .exits(1)?
        .says("ssh's PubkeyAcceptedAlgorithms accept no ed25519 key")?
        .says("sudo pullpray key todo --rotate")?;
    web.run(ROTATE)?.exits(3)?.says("rsa SHA256:")?;
    let rsa = web.read(&format!("{KEYS}.next.pub"))?;
    set_only_key(&host, &repo, &rsa)?;
    web.run(ROTATE)?.ok()?;
    assert_works(&repo, &web, "version four")?;
    web.run("pullpray doctor todo --strict")?.ok()?;

    web.run("pullpray remove todo --yes --purge")?.ok()?;
    web.run(&format!("ls {KEYS}*"))?.exits(2)?;
    Ok(())
}

#[test]
fn a_user_adds_the_next_key_while_rotate_waits() -> Result<()> {
    let lab = Lab::new("next")?;
    let Todo { host, repo, web } = Todo::live(&lab, Release::Bookworm)?;
    let mut person = web.terminal(&format!("{ROTATE}; echo ended with $?"))?;
    person.sees("waiting for access")?;
    person.presses(crate::lab::key::CTRL_C)?;
    person.sees("Interrupted. Completed steps are kept; continue with: sudo pullpray key")?;
    person.sees("ended with 130")?;
    let mut person = web.terminal(&format!("{ROTATE}; echo ended with $?"))?;
    person.sees("waiting for access")?;
    let next = web.read(&format!("{KEYS}.next.pub"))?;
    host.allow_key(&repo, &next, Access::ReadOnly)?;
    person.sees("Remove it at githost too")?;
    person.sees("ended with 0")?;
    ensure!(web.deploy_key("todo")? == next);
    Ok(())
}

/// Simulates power cuts after each rename of a rotation.
#[test]
fn one_of_the_two_keys_works_after_any_interruption() -> Result<()> {
    let lab = Lab::new("halves")?;
    let Todo { host, repo, web } = Todo::live(&lab, Release::Bookworm)?;
    quick(&web)?;
    let mut old = web.deploy_key("todo")?;
    let half_switched = format!("mv {KEYS}.next {KEYS}");
    let public_too = format!("mv {KEYS}.next {KEYS}; cp {KEYS}.next.pub {KEYS}.pub");
    let no_public = format!("rm {KEYS}.next.pub");
    let fix = "pullpray doctor todo --fix --yes";
    for (number, (state, opens, finish)) in [
        ("true", "old", ROTATE),
        ("true", "new", ROTATE),
        (no_public.as_str(), "old", ROTATE),
        (half_switched.as_str(), "new", fix),
        (half_switched.as_str(), "new", ROTATE),
        (public_too.as_str(), "new", fix),
        (public_too.as_str(), "new", ROTATE),
    ]
    .into_iter()
    .enumerate()
    {
        set_only_key(&host, &repo, &old)?;
        web.run(ROTATE)?.exits(3)?;
        let next = web.read(&format!("{KEYS}.next.pub"))?;
        web.run(&format!(
            "set -e; {state}; systemctl restart ssh-agent.todo"
        ))?
        .ok()?;
        set_only_key(&host, &repo, if opens == "old" { &old } else { &next })?;
        assert_works(&repo, &web, &format!("version for {number}"))?;

        set_only_key(&host, &repo, &next)?;
        web.run(finish)?.ok()?;
        ensure!(web.deploy_key("todo")? == next, "{number}");
        assert_works(&repo, &web, &format!("version after {number}"))?;
        web.run("pullpray doctor todo --strict")?.ok()?;
        web.run(&format!("ls {KEYS}.next*"))?.exits(2)?;
        old = next;
    }
    Ok(())
}
