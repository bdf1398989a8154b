//! Many polls with an occasional push: only what is kept on purpose grows.

use anyhow::{Result, ensure};

use crate::lab::{Lab, Release, Todo, WebServer};
use crate::power::quick;

/// Number of state files, KiB of state, KiB of the app's tree, and number of the account's processes.
fn sizes(web: &WebServer) -> Result<[u64; 4]> {
    let output = web
        .run(
            "cd /var/lib/pullpray/todo; find . -type f | wc -l; du -sk . /var/www/projects/todo | cut -f1; \
             pgrep -u gunicorn -c .",
        )?
        .ok()?
        .stdout;
    let sizes: Vec<u64> = output
        .lines()
        .map(|line| Ok(line.trim().parse()?))
        .collect::<Result<_>>()?;
    Ok(sizes.as_slice().try_into()?)
}

/// `rounds` pushes, each followed by `polls` polls, the first of which deploys.
pub fn soak(rounds: u64, polls: u32) -> Result<()> {
    let lab = Lab::new("soak")?;
    let Todo {
        host: _host,
        repo,
        web,
    } = Todo::live(&lab, Release::Bookworm)?;
    quick(&web)?;
    let settled = rounds / 4;
    let mut first = [0; 4];
    for round in 0..rounds {
        repo.push(&format!("version {round}."))?;
        web.run(&format!(
            "for n in $(seq {polls}); do pullpray poll todo || exit; done"
        ))?
        .ok()?;
        ensure!(web.page("/")?.shows(&format!("version {round}.")));
        if round == settled {
            first = sizes(&web)?;
        }
    }
    let last = sizes(&web)?;
    let kept = rounds - settled;
    // Keeps logs of the last fifty deployments, one per round, and packs until they are merged.
    ensure!(last[0] <= first[0] + kept + 20, "files: {first:?} {last:?}");
    ensure!(
        last[1] <= first[1] + 60 * kept,
        "KiB of state: {first:?} {last:?}"
    );
    // Keeps five releases of about 60 KiB each.
    ensure!(
        last[2] <= first[2] + 500,
        "KiB of releases: {first:?} {last:?}"
    );
    ensure!(last[3] == first[3], "processes: {first:?} {last:?}");
    web.script("junk", &["todo"])?.ok()?.silent()?;
    web.run("pullpray doctor todo --strict")?.ok()?;
    Ok(())
}

#[test]
fn eight_rounds_leave_nothing_behind() -> Result<()> {
    soak(8, 4)
}
