//! The flip and what follows: restart, health, and the way back.

use anyhow::Result;
use std::path::{Path, PathBuf};

use crate::app::{App, paths};
use crate::host::{Kind, Server};
use crate::state::ledger::Release;

use super::health::{answers, healthy};
use super::release::STATIC;
use super::service::{last_words, restart};
use super::trial::{self, Tried};
use super::{Failed, Poll, short};

/// A release that `current` leads to and that has not been asked for its health.
#[must_use]
pub(super) struct Flipped {
    release: Release,
    before: Option<Release>,
}

/// A release that is live and well.
#[must_use]
pub(super) struct Healthy {
    release: Release,
}

impl Healthy {
    pub(super) fn into_release(self) -> Release {
        self.release
    }
}

/// Points `current` to the release, in one rename.
pub(super) fn flip(
    poll: &Poll<'_>,
    tried: Tried,
    before: Option<&Release>,
) -> Result<Flipped, Failed> {
    let release = tried.into_release();
    poll.say(&format!("switching to {}", release.id));
    point(poll.server, poll.app, &release.id)?;
    Ok(Flipped {
        release,
        before: before.cloned(),
    })
}

fn point(server: &Server, app: &App, id: &str) -> Result<()> {
    server.switch_link(&app.current(), &paths::release_link(id))
}

impl Flipped {
    /// Restarts the service and asks the app; takes the release back if it is ill.
    pub(super) fn restart_and_ask(self, poll: &Poll<'_>) -> Result<Healthy, Failed> {
        match go(poll, &self.release, self.before.as_ref()) {
            Returned::Live => Ok(Healthy {
                release: self.release,
            }),
            Returned::Ill {
                why,
                not_brought_back,
            } => Err(Failed {
                why,
                last_lines: last_words(poll, &paths::service_unit(&poll.app.name)),
                not_brought_back,
            }),
        }
    }
}

/// How switching to a release ended.
pub(super) enum Returned {
    /// It is live and well.
    Live,
    /// It was ill, and was taken back.
    Ill {
        why: String,
        not_brought_back: Option<String>,
    },
}

/// Points `current` to the release that is live by the ledger and restarts.
pub(super) fn bring_back(poll: &Poll<'_>, release: &Release) -> Result<()> {
    poll.say(&format!("going back to {}", short(&release.commit)));
    point(poll.server, poll.app, &release.id)?;
    go_live(poll, release)
}

/// Makes sure that what is live answers, and starts it anew if it does not; why not, if not even then.
pub(super) fn not_live(poll: &Poll<'_>, live: &Release) -> Option<String> {
    let ill = answers(poll).err()?;
    poll.say(&format!("what is live does not answer well: {ill:#}"));
    bring_back(poll, live)
        .err()
        .map(|error| format!("{error:#}"))
}

/// Points `current` to a release that was live before, and goes the same way as a deployment.
pub(super) fn go_to(poll: &Poll<'_>, release: &Release, live: &Release) -> Returned {
    if let Err(error) = trial::answers_well(poll, &release.id) {
        return Returned::Ill {
            why: format!("{error:#}"),
            not_brought_back: not_live(poll, live),
        };
    }
    poll.say(&format!("switching to {}", release.id));
    if let Err(error) = point(poll.server, poll.app, &release.id) {
        return Returned::Ill {
            why: format!("{error:#}"),
            not_brought_back: not_live(poll, live),
        };
    }
    go(poll, release, Some(live))
}

/// Makes the release that `current` leads to the one that is served; takes it back if it is ill.
fn go(poll: &Poll<'_>, release: &Release, before: Option<&Release>) -> Returned {
    let why = match go_live(poll, release) {
        Ok(()) => return Returned::Live,
        Err(error) => format!("{error:#}"),
    };
    let back = match before {
        Some(before) => bring_back(poll, before),
        // Nothing was live before: an ill first release must not look like one.
        None => poll.server.remove_file(&poll.app.current()),
    };
    Returned::Ill {
        why,
        not_brought_back: back.err().map(|error| format!("{error:#}")),
    }
}

/// Publishes static files, restarts, and asks until the app is well or its time is up.
fn go_live(poll: &Poll<'_>, release: &Release) -> Result<()> {
    let dir = poll.app.releases().join(&release.id);
    publish(
        poll.server,
        &dir.join(STATIC),
        poll.app.static_dir.as_path(),
    )?;
    poll.say("restarting");
    restart(poll.server, poll.app)?;
    poll.say("asking for health");
    healthy(poll, &paths::service_unit(&poll.app.name), &poll.app.bind)
}

/// Copies the release's static files to where the web server looks: each beside its target, then
/// renamed over it. Nothing is taken away here, so pages that were served before the flip still
/// find the files they name.
fn publish(server: &Server, from: &Path, to: &Path) -> Result<()> {
    let mut waiting: Vec<PathBuf> = vec![PathBuf::new()];
    if server.stat(from)?.is_some() {
        server.publish_dir(from)?;
    }
    while let Some(part) = waiting.pop() {
        for name in server.list(&from.join(&part))? {
            let path = part.join(&name);
            let source = from.join(&path);
            match server.stat(&source)?.map(|stat| stat.kind) {
                Some(Kind::Directory) => {
                    // The source, too: a project that chooses modes itself takes the setgid bit away.
                    server.publish_dir(&source)?;
                    server.publish_dir(&to.join(&path))?;
                    waiting.push(path);
                }
                Some(Kind::File) => server.publish_file(&source, &to.join(&path))?,
                _ => {}
            }
        }
    }
    Ok(())
}

/// What is to be known of a release's static files that are links: nobody publishes them, since the web server would
/// read what they lead to with rights of its own.
pub(super) fn unpublished(server: &Server, release: &Path) -> Result<Option<String>> {
    const TOLD: usize = 5;
    let from = release.join(STATIC);
    let mut links = Vec::new();
    let mut waiting: Vec<PathBuf> = vec![PathBuf::new()];
    while let Some(part) = waiting.pop() {
        for name in server.list(&from.join(&part))? {
            let path = part.join(&name);
            match server.stat(&from.join(&path))?.map(|stat| stat.kind) {
                Some(Kind::Directory) => waiting.push(path),
                Some(Kind::Link) => links.push(path.display().to_string()),
                _ => {}
            }
        }
    }
    links.sort();
    let more = links.len().saturating_sub(TOLD);
    links.truncate(TOLD);
    let more = (more > 0).then(|| format!(" and {more} more"));
    Ok((!links.is_empty()).then(|| {
        format!(
            "static files that are links are not published: {}{}",
            links.join(", "),
            more.unwrap_or_default()
        )
    }))
}
