//! Power cuts during polls: after a reboot the site serves the old version or the new one completely,
//! and the next poll ends at the new one without help and leaves nothing behind.

use anyhow::{Context, Result, ensure};

use crate::lab::{Disk, Lab, Release, Todo, WebServer};

/// A fast deploy script, for tests that kill the poll.
const QUICK: &str = "#!/bin/sh\nset -e\n[ \"$PULLPRAY_VENV_STATE\" = ready ] || python3 -m venv --system-site-packages --without-pip \"$PULLPRAY_VENV\"\nmkdir -p .static/items\ncp items/static/items/todo.css .static/items/\n";

/// Configures one worker and a fast deploy script, for tests of the poll itself.
pub fn quick(web: &WebServer) -> Result<()> {
    web.run("pullpray init todo --workers 1 --yes && systemctl restart gunicorn.todo.service")?
        .ok()?;
    web.write("/opt/git_pollers/todo/deploy.sh", QUICK)?;
    web.run("sed -i 's/^keep = .*/keep = 2/; s/^health_timeout = .*/health_timeout = 5/' /etc/pullpray/todo.toml; pullpray poll todo; sync")?
        .ok()?;
    Ok(())
}

/// Whether the poll had switched the link when the power was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    Before,
    After,
}

/// When to cut the power: some seconds after the poll started, or as soon as it switches the link.
#[derive(Debug, Clone, Copy)]
pub enum When {
    Seconds(f64),
    Switched,
}

impl When {
    /// A shell command that waits for this moment; `$poll` is the process that deploys.
    fn wait_command(self) -> String {
        match self {
            Self::Seconds(after) => format!("sleep {after:.2}"),
            Self::Switched => "while [ $(readlink /var/www/projects/todo/current) = $live ] && kill -0 $poll; do :; done".to_owned(),
        }
    }
}

/// Cuts the power of a deployment on ext4 at each of these moments; returns which of them had switched.
pub fn cuts(moments: impl IntoIterator<Item = When>) -> Result<Vec<Cut>> {
    let lab = Lab::new("cuts")?;
    let todo = Todo::live_on(&lab, Release::Bookworm, Disk::Ext4("2g"))?;
    let Todo { repo, web, .. } = &todo;
    quick(web)?;
    let shows = |versions: &[&str]| web.script("whole", &[&["todo"], versions].concat())?.ok();
    let mut old = "version one".to_owned();
    let mut cuts = Vec::new();
    for (number, moment) in moments.into_iter().enumerate() {
        let new = format!("version of cut {number}.");
        repo.push(&new)?;
        // Stops the poll before reading the link, so that it gets no further until the power cut.
        let link = web
            .run(&format!(
                "cd /var/www/projects/todo; live=$(readlink current); setpriv --reuid gunicorn --regid $(id -g gunicorn) --init-groups pullpray poll todo >/dev/null 2>&1 & poll=$!; \
                 {}; kill -STOP $poll; [ $(readlink current) = $live ] && echo old || echo new",
                moment.wait_command()
            ))?
            .ok()?;
        cuts.push(match link.stdout.trim() {
            "old" => Cut::Before,
            _ => Cut::After,
        });
        web.power_cut()?;
        web.boot_again()?;
        web.wait_for_page_of("todo.example", "/", "version", 60)?;
        shows(&[&old, &new]).with_context(|| format!("{moment:?}"))?;
        web.run("pullpray poll todo")?
            .ok()
            .with_context(|| format!("{moment:?}"))?;
        shows(&[&new]).with_context(|| format!("the poll after {moment:?}"))?;
        web.script("junk", &["todo"])?.ok()?.silent()?;
        old = new;
    }
    Ok(cuts)
}

#[test]
fn polls_recover_from_power_cuts_before_and_after_the_switch() -> Result<()> {
    let cuts = cuts([When::Seconds(0.3), When::Switched])?;
    ensure!(cuts == [Cut::Before, Cut::After], "{cuts:?}");
    Ok(())
}
