//! The flip and what follows: restart, health, and the way back.

use anyhow::Result;
use std::path::{Path, PathBuf};

use crate::app::App;
use crate::host::{Kind, Server};
use crate::layout;
use crate::state::ledger::Release;

use super::build::STATIC;
use super::health::{answers, healthy};
use super::service::{last_words, restart};
use super::trial::{self, Verified};
use super::{Failed, Poll};
use crate::text::short;

/// A release that `current` leads to and that has not been asked for its health.
#[must_use]
pub(super) struct Activated {
    release: Release,
    before: Option<Release>,
}

/// A release that is live and well.
#[must_use]
pub(super) struct Live {
    release: Release,
}

impl Live {
    pub(super) fn into_release(self) -> Release {
        self.release
    }
}

/// Points `current` to the release, in one rename.
pub(super) fn flip(
    poll: &Poll<'_>,
    tried: Verified,
    before: Option<&Release>,
) -> Result<Activated, Failed> {
    let release = tried.into_release();
    poll.say(&format!("switching to {}", release.id));
    point(poll.server, poll.app, &release.id)?;
    Ok(Activated {
        release,
        before: before.cloned(),
    })
}

fn point(server: &Server, app: &App, id: &str) -> Result<()> {
    server.switch_link(&app.current(), &layout::release_link(id))
}

impl Activated {
    /// Restarts the service and asks the app; takes the release back if it is ill.
    pub(super) fn restart_and_ask(self, poll: &Poll<'_>) -> Result<Live, Failed> {
        match go(poll, &self.release, self.before.as_ref()) {
            ActivationResult::Live => Ok(Live {
                release: self.release,
            }),
            ActivationResult::Unhealthy {
                why,
                not_brought_back,
            } => Err(Failed {
                why,
                last_lines: last_words(poll, &layout::service_unit(&poll.app.name)),
                not_brought_back,
            }),
        }
    }
}

/// How switching to a release ended.
pub(super) enum ActivationResult {
    /// It is live and well.
    Live,
    /// It was ill, and was taken back.
    Unhealthy {
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
    let unhealthy = answers(poll).err()?;
    poll.say(&format!("what is live does not answer well: {unhealthy:#}"));
    bring_back(poll, live)
        .err()
        .map(|error| format!("{error:#}"))
}

/// Points `current` to a release that was live before, and goes the same way as a deployment.
pub(super) fn go_to(poll: &Poll<'_>, release: &Release, live: &Release) -> ActivationResult {
    if let Err(error) = trial::answers_well(poll, &release.id) {
        return ActivationResult::Unhealthy {
            why: format!("{error:#}"),
            not_brought_back: not_live(poll, live),
        };
    }
    poll.say(&format!("switching to {}", release.id));
    if let Err(error) = point(poll.server, poll.app, &release.id) {
        return ActivationResult::Unhealthy {
            why: format!("{error:#}"),
            not_brought_back: not_live(poll, live),
        };
    }
    go(poll, release, Some(live))
}

/// Makes the release that `current` leads to the one that is served; takes it back if it is ill.
fn go(poll: &Poll<'_>, release: &Release, before: Option<&Release>) -> ActivationResult {
    let why = match go_live(poll, release) {
        Ok(()) => return ActivationResult::Live,
        Err(error) => format!("{error:#}"),
    };
    let back = match before {
        Some(before) => bring_back(poll, before),
        // Nothing was live before: an ill first release must not look like one.
        None => poll.server.remove_file(&poll.app.current()),
    };
    ActivationResult::Unhealthy {
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
    healthy(poll, &layout::service_unit(&poll.app.name), &poll.app.bind)
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
