//! Misbehaving deploy scripts.

use anyhow::{Result, ensure};

use crate::faults::{SCRIPT, deploys, fails, poll_is_silent, push_and_deploy};
use crate::lab::{Lab, Release, Todo, WebServer};

/// Installs init's deploy script with more lines at its end.
fn script(web: &WebServer, more: &str) -> Result<()> {
    web.run(&format!(
        "[ -e /root/deploy.sh ] || cp {SCRIPT} /root/deploy.sh; cat /root/deploy.sh - >{SCRIPT} <<'MORE'\n{more}\nMORE"
    ))?
    .ok()?;
    Ok(())
}

/// releases/ contains only releases of the ledger.
fn no_releases_are_left_over(web: &WebServer) -> Result<()> {
    web.run(
        "cd /var/www/projects/todo/releases && ls -d * | while read -r id; do grep -q \"\\\"id\\\": \\\"$id\\\"\" /var/lib/pullpray/todo/ledger.json || { echo \"$id is left over\"; exit 1; }; done",
    )?
    .ok()?;
    Ok(())
}

#[test]
fn a_script_that_removes_its_release_fails() -> Result<()> {
    let lab = Lab::new("destroy")?;
    let Todo { repo, web, .. } = Todo::live(&lab, Release::Bookworm)?;

    script(&web, "rm -rf \"$PULLPRAY_RELEASE\"")?;
    repo.push("version two")?;
    fails(
        &web,
        "version one",
        "the deploy script removed its own release",
    )?;
    no_releases_are_left_over(&web)?;
    script(&web, "")?;
    deploys(&web, "version two")?;

    // Directories without permissions are removed too, from releases and environments.
    script(
        &web,
        "mkdir -p shut/below/further && echo x >shut/below/x && chmod 0 shut/below/further shut/below shut; exit 3",
    )?;
    repo.push("version three")?;
    fails(
        &web,
        "version two",
        "the deploy script exited with status 3",
    )?;
    no_releases_are_left_over(&web)?;
    script(
        &web,
        "mkdir -p shut/below && echo x >shut/below/x && chmod 0 shut/below && chmod 0500 shut",
    )?;
    web.run("sed -i 's/^#* *keep = .*/keep = 2/' /etc/pullpray/todo.toml && grep -qx 'keep = 2' /etc/pullpray/todo.toml")?
        .ok()?;
    web.run_as("gunicorn", "pullpray poll todo --verbose")?
        .ok()?
        .says("\"version three\" live after")?;
    for version in ["version four", "version five"] {
        repo.push(version)?;
        let output = web
            .run_as("gunicorn", "pullpray poll todo --verbose")?
            .ok()?;
        ensure!(!output.stdout.contains("could not be removed"), "{output}");
        ensure!(web.page("/")?.shows(version));
    }
    no_releases_are_left_over(&web)?;
    ensure!(
        web.run("ls /var/www/projects/todo/releases | wc -l")?
            .ok()?
            .stdout
            == "2\n",
        "the live and the previous release"
    );
    poll_is_silent(&web)
}

#[test]
fn a_script_that_kills_the_poll_is_not_retried_forever() -> Result<()> {
    let lab = Lab::new("parent")?;
    let Todo { repo, web, .. } = Todo::live(&lab, Release::Bookworm)?;
    let more = "echo x >>/tmp/tries; setsid sleep 4251 & kill -9 $PPID; sleep 4252";
    script(&web, more)?;
    repo.push("version two")?;
    // A poll can be killed for any reason, so the next one retries at once.
    for _ in 0..3 {
        web.run("pullpray poll todo; s=$?; echo ended with $s")?
            .ok()?
            .says("ended with 137")?;
        ensure!(web.page("/")?.shows("version one"));
    }
    web.run("pgrep -f 'sleep 425[1]'")?.ok()?;
    web.run("pullpray poll todo")?
        .exits(1)?
        .says("was killed; restored ")?
        .says("\"First version\"")?
        .says("giving up after 3 attempts; will try again on a new commit or a settings change")?;
    web.run("pgrep -af 'sleep 425[12]'")?.exits(1)?;
    poll_is_silent(&web)?;
    ensure!(web.read("/tmp/tries")? == "x\nx\nx\n");
    ensure!(web.page("/")?.shows("version one"));
    web.run("pullpray status todo")?
        .ok()?
        .says("the poll that deployed it was killed")?;
    script(&web, "")?;
    deploys(&web, "version two")?;
    no_releases_are_left_over(&web)?;
    poll_is_silent(&web)
}

#[test]
fn a_script_that_fills_the_disk_leaves_nothing_behind() -> Result<()> {
    let lab = Lab::new("fills")?;
    let Todo { repo, web, .. } = Todo::live(&lab, Release::Bookworm)?;
    push_and_deploy(&web, &repo, "version two")?;
    let free = || -> Result<u64> {
        let out = web.run("df --output=avail -k /var/www | tail -1")?.ok()?;
        Ok(out.stdout.trim().parse()?)
    };
    let before = free()?;
    script(&web, "cat /dev/zero >junk")?;
    repo.push("version three")?;
    fails(&web, "version two", "No space left on device")?;
    ensure!(free()? + 50_000 > before, "{} {before}", free()?);
    no_releases_are_left_over(&web)?;
    web.run("pullpray status todo")?
        .ok()?
        .says("the deploy script exited with status 1")?;

    // A gigabyte of output does not make a gigabyte of log.
    script(&web, "yes flood | head -c 1000000000; echo the end")?;
    deploys(&web, "version three")?;
    ensure!(free()? + 100_000 > before, "{} {before}", free()?);
    script(&web, "")?;
    push_and_deploy(&web, &repo, "version four")?;
    poll_is_silent(&web)
}
