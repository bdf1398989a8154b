//! The flip and what follows: restart, health, and the way back.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::app::{App, paths};
use crate::record::ledger::Release;
use crate::render;
use crate::server::{Kind, Server};

use super::release::{Built, STATIC};
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
    built: Built,
    before: Option<&Release>,
) -> Result<Flipped, Failed> {
    poll.say(&format!("switching to {}", built.release.id));
    debug_assert!(built.dir.ends_with(&built.release.id));
    point(poll.server, poll.app, &built.release.id)?;
    Ok(Flipped {
        release: built.release,
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
                last_lines: last_words(poll),
                not_brought_back,
            }),
        }
    }
}

/// What the service wrote last.
fn last_words(poll: &Poll<'_>) -> Vec<String> {
    let unit = paths::service_unit(&poll.app.name);
    let log = poll.server.unit_log(&unit, 10);
    if log.is_empty() {
        // The journal is not every account's to read (journalctl(1)).
        return vec![format!(
            "what the app said: sudo journalctl -u {unit} -n 200"
        )];
    }
    log.lines().map(str::to_owned).collect()
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

/// Points `current` to a release that was live before, and goes the same way as a deployment.
pub(super) fn go_to(poll: &Poll<'_>, release: &Release, live: &Release) -> Returned {
    poll.say(&format!("switching to {}", release.id));
    if let Err(error) = point(poll.server, poll.app, &release.id) {
        return Returned::Ill {
            why: format!("{error:#}"),
            not_brought_back: None,
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
    healthy(poll)
}

/// Restarts the service, with the arguments that the sudoers drop-in permits. After a crash loop
/// both units refuse to start until their failure is forgotten: then socket first, then service.
fn restart(server: &Server, app: &App) -> Result<()> {
    let permitted = render::permitted(app);
    let run = |index: usize| -> Result<()> {
        let arguments: Vec<&str> = permitted
            .get(index)
            .map(|words| words.iter().map(String::as_str).collect())
            .unwrap_or_default();
        server.sudo_systemctl(&app.systemctl, &arguments)
    };
    let (service, socket, forget) = (0, 1, 2);
    let listening = server.unit(&paths::socket_unit(&app.name))?.is_active();
    let Err(error) = run(service) else {
        return Ok(());
    };
    if listening && server.unit(&paths::service_unit(&app.name))?.result == "success" {
        return Err(error);
    }
    run(forget)?;
    run(socket)?;
    run(service)
}

/// How often the app must answer well in a row, and how far apart.
const ANSWERS: u32 = 2;
const APART: Duration = Duration::from_millis(250);

/// Asks until the app has answered well twice from the same main process, or its time is up.
fn healthy(poll: &Poll<'_>) -> Result<()> {
    let (server, app) = (poll.server, poll.app);
    let unit = paths::service_unit(&app.name);
    let until = Instant::now() + Duration::from_secs(app.limits.health_timeout);
    let mut well = 0;
    let mut process = 0;
    let why = loop {
        let left = until.saturating_duration_since(Instant::now());
        let state = server.unit(&unit)?;
        let why = if state.is_active() {
            if state.main_pid != process {
                process = state.main_pid;
                well = 0;
            }
            let patience = left.max(Duration::from_millis(100));
            match server.http_get(&app.bind, &app.health_path, &app.health_host, patience) {
                Ok(answer) if (200..400).contains(&answer.status) => {
                    well += 1;
                    if well >= ANSWERS {
                        return Ok(());
                    }
                    format!("{unit} did not stay up")
                }
                Ok(answer) => {
                    well = 0;
                    ill(app, answer.status)
                }
                Err(error) => {
                    well = 0;
                    format!("GET {} on {}: {error}", app.health_path, app.bind)
                }
            }
        } else {
            well = 0;
            format!("{unit} is {} ({})", state.active, state.result)
        };
        if state.active == "failed" || Instant::now() >= until {
            break why;
        }
        std::thread::sleep(APART);
    };
    anyhow::bail!("not healthy: {why}")
}

fn ill(app: &App, status: u16) -> String {
    let question = format!(
        "GET {} on {} (Host: {})",
        app.health_path, app.bind, app.health_host
    );
    match status {
        400 => format!(
            "{question} → 400; is {} one of the project's ALLOWED_HOSTS? health_host in the settings says who is asked",
            app.health_host
        ),
        _ => format!("{question} → {status}"),
    }
}

/// Copies the release's static files to where the web server looks: each beside its target, then
/// renamed over it. Nothing is taken away here, so pages that were served before the flip still
/// find the files they name.
fn publish(server: &Server, from: &Path, to: &Path) -> Result<()> {
    let mut waiting: Vec<PathBuf> = vec![PathBuf::new()];
    while let Some(part) = waiting.pop() {
        for name in server.list(&from.join(&part))? {
            let path = part.join(&name);
            let source = from.join(&path);
            match server.stat(&source)?.map(|stat| stat.kind) {
                Some(Kind::Directory) => {
                    server.make_own_dirs(&to.join(&path))?;
                    waiting.push(path);
                }
                Some(Kind::File) => server.publish_file(&source, &to.join(&path))?,
                _ => {}
            }
        }
    }
    Ok(())
}
