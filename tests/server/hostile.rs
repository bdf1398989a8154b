//! Malicious git hosts and repositories: pullpray limits what they use up, and reports each refusal once.

use std::thread;

use anyhow::{Context, Result, anyhow, ensure};

use crate::faults::{deploys, poll_is_silent, push_and_deploy};
use crate::faults_disk::move_to_own_filesystem;
use crate::lab::{GitHost, Lab, Output, Release, Todo, WebServer};

/// Limit for a poll's memory.
const MIB: u64 = 200;

/// Runs a poll; returns the peak memory of its largest process in MiB. A ulimit protects this machine from a poll
/// without limits.
fn measured_poll(web: &WebServer, exit: i32) -> Result<(Output, u64)> {
    let output = web
        .run(
            "ulimit -v 4000000; python3 -c 'import resource, subprocess, sys
ended = subprocess.call([\"pullpray\", \"poll\", \"todo\"])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024, file=sys.stderr)
sys.exit(ended)'",
        )?
        .exits(exit)?;
    let last = output.stderr.lines().last().context("no number")?;
    let memory = last.trim().parse().with_context(|| format!("{output}"))?;
    Ok((output, memory))
}

/// Makes the host misbehave in this way from now on; with an empty `kind`, normally.
fn misbehave(host: &GitHost, kind: &str) -> Result<()> {
    host.run(&format!("printf '%s' '{kind}' >/tmp/hostile"))?
        .ok()?;
    Ok(())
}

fn install_hostile_server(host: &GitHost) -> Result<()> {
    host.write(
        "/usr/local/bin/hostile.py",
        include_str!("inside/hostile.py"),
    )?;
    host.run("sed -i 's|^exec git|[ ! -s /tmp/hostile ] \\|\\| exec python3 /usr/local/bin/hostile.py $(cat /tmp/hostile); exec git|' /usr/local/bin/repo-shell")?.ok()?;
    Ok(())
}

/// Sets a setting of the app.
fn set(web: &WebServer, key: &str, value: &str) -> Result<()> {
    web.run(&format!(
        "sed -i '/^{key} = /d' /etc/pullpray/todo.toml && echo '{key} = {value}' >>/etc/pullpray/todo.toml"
    ))?
    .ok()?;
    Ok(())
}

#[test]
fn commits_beyond_the_limits_are_refused_and_reported_once() -> Result<()> {
    let lab = Lab::new("bounds")?;
    let Todo { host, repo, web } = Todo::live(&lab, Release::Bookworm)?;
    install_hostile_server(&host)?;
    set(&web, "max_size", "256")?;
    let groups: [&[(&str, &str)]; 4] = [
        &[
            ("deep", "nested more than 100 levels deep"),
            ("wide", "too many files"),
            ("names", "a path that is too long"),
            ("paths", "a path that is too long"),
            ("message", "the commit or tag object"),
        ],
        &[
            ("garbage", "it is incomplete or damaged"),
            ("missing", "it is incomplete or damaged"),
        ],
        &[
            ("zeros", "\"large\" has 512 MiB, more than max_file = 100"),
            ("delta", "it needs more memory than"),
        ],
        &[("endless", "sent more than 256 MiB, which is max_size")],
    ];
    for (n, kinds) in groups.into_iter().enumerate() {
        for (kind, words) in kinds {
            misbehave(&host, kind)?;
            let (output, memory) = measured_poll(&web, 1)?;
            output.says(words)?.says("reported once")?;
            ensure!(memory < MIB, "{kind}: {memory} MiB");
            web.run("pullpray poll todo")?.ok()?.silent()?;
            web.run("pullpray status todo")?.ok()?.says(words)?;
            let kept = web.run("du -sm /var/lib/pullpray/todo | cut -f1")?.ok()?;
            let kept: u64 = kept.stdout.trim().parse()?;
            ensure!(kept < 300, "{kind}: {kept} MiB");
        }
        misbehave(&host, "")?;
        push_and_deploy(&web, &repo, &format!("version {n} after"))?;
        poll_is_silent(&web)?;
    }

    // An endless list of references is not an answer.
    misbehave(&host, "refs")?;
    let (output, memory) = measured_poll(&web, 3)?;
    ensure!(output.stdout.is_empty() && memory < MIB, "{memory} MiB");
    web.run("pullpray poll todo --verbose")?
        .exits(3)?
        .says("the response is longer than")?;

    // Signatures are verified before anything else in the commit is read.
    let key = "AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    web.write(
        "/etc/pullpray/todo.signers",
        &format!("ann ssh-ed25519 {key}\n"),
    )?;
    set(&web, "signed_by", "\"/etc/pullpray/todo.signers\"")?;
    misbehave(&host, "deep")?;
    let (output, _) = measured_poll(&web, 1)?;
    output.says("the commit is not signed")?;
    misbehave(&host, "")?;
    repo.run("ssh-keygen -q -t ed25519 -N '' -f /home/git/signing; git config gpg.format ssh; git config user.signingkey /home/git/signing.pub; git config commit.gpgsign true")?;
    repo.push("version signed")?;
    let refused = web.run("pullpray poll todo")?.exits(1)?;
    refused
        .says("the commit is signed with the key SHA256:")?
        .says("which the list of allowed signers does not permit")?;
    poll_is_silent(&web)?;
    let key = repo.run("cat /home/git/signing.pub")?;
    web.write("/etc/pullpray/todo.signers", &format!("ann {key}"))?;
    let keygen = "/usr/bin/ssh-keygen";
    web.run(&format!("mv {keygen} {keygen}.away"))?.ok()?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("ssh-keygen is not installed")?;
    web.run(&format!("mv {keygen}.away {keygen}"))?.ok()?;
    deploys(&web, "version signed")?;
    poll_is_silent(&web)
}

#[test]
fn dependency_files_are_read_without_following_links() -> Result<()> {
    let lab = Lab::new("devices")?;
    let Todo { repo, web, .. } = Todo::live(&lab, Release::Bookworm)?;
    for (n, link) in [
        "requirements.txt",
        "uv.lock",
        "pyproject.toml",
        "requirements/dev.txt",
    ]
    .into_iter()
    .enumerate()
    {
        let others = match link {
            "requirements/dev.txt" => "touch requirements.txt; mkdir -p requirements;",
            _ => "git rm -qf --ignore-unmatch requirements.txt;",
        };
        repo.run(&format!(
            "{others} ln -sf /dev/zero {link}; git add -A; git commit -qm 'Link {link}'; git push -q"
        ))?;
        let (output, memory) = measured_poll(&web, 1)?;
        match link {
            // Without its program it is refused before it is read.
            "uv.lock" => output.says("uv.lock needs uv")?,
            _ => output
                .says(&format!("/{link} is a link, which is not followed"))?
                .says("is still live")?,
        };
        ensure!(memory < MIB, "{link}: {memory} MiB");
        repo.run("git revert --no-edit HEAD")?;
        push_and_deploy(&web, &repo, &format!("version {n} after"))?;
        poll_is_silent(&web)?;
    }
    Ok(())
}

#[test]
fn an_operator_does_not_wait_for_a_slow_host() -> Result<()> {
    let lab = Lab::new("drips")?;
    let Todo { host, repo, web } = Todo::live(&lab, Release::Bookworm)?;
    install_hostile_server(&host)?;
    push_and_deploy(&web, &repo, "version two")?;
    // One host is slow to list references, the other to send the pack.
    for (kind, operator, shows) in [
        ("drip", "pullpray pause todo", "version two"),
        ("stall", "pullpray rollback todo", "version one"),
    ] {
        misbehave(&host, kind)?;
        thread::scope(|scope| -> Result<()> {
            let poll = scope.spawn(|| web.run("pullpray poll todo"));
            host.run("for n in $(seq 300); do [ -e /tmp/asked ] && break; sleep 0.1; done; rm /tmp/asked")?
                .ok()?;
            web.run(operator)?.ok()?;
            let poll = poll.join().map_err(|_| anyhow!("panicked"))??;
            poll.ok()?.silent()?;
            Ok(())
        })?;
        ensure!(web.page("/")?.shows(shows));
        web.run("pgrep -x ssh")?.exits(1)?;
        web.run("pullpray resume todo")?.ok()?;
    }
    misbehave(&host, "")?;
    push_and_deploy(&web, &repo, "version three")
}

#[test]
fn an_endless_pack_fills_at_most_half_of_the_disk() -> Result<()> {
    let lab = Lab::new("halves")?;
    let Todo { host, repo, web } = Todo::live(&lab, Release::Bookworm)?;
    install_hostile_server(&host)?;
    move_to_own_filesystem(&web, "/var/lib/pullpray", "size=100m")?;
    misbehave(&host, "endless")?;
    web.run("pullpray poll todo --verbose")?
        .exits(3)?
        .says("MiB, half of what is free for its mirror")?;
    web.run("pullpray poll todo")?.exits(3)?.silent()?;
    misbehave(&host, "")?;
    push_and_deploy(&web, &repo, "version two")?;
    poll_is_silent(&web)
}
