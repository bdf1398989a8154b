//! The units of gunicorn: sockets, and the instances that listen on them.

use std::path::Path;

use anyhow::Result;
use askama::Template;

use crate::app::{App, Bind};
use crate::layout;

use super::process::Common;
use super::text;

/// The unit of a socket.
#[derive(Template)]
#[template(path = "gunicorn.socket", escape = "none", ext = "txt")]
struct GunicornSocket<'a> {
    app: &'a App,
    listen: String,
    /// The unit that alone listens there; empty for the socket where visitors connect.
    only: String,
    unix: bool,
}

impl GunicornSocket<'_> {
    fn private(app: &App, listen: &Path, only: String) -> Result<String> {
        let listen = text(listen);
        let socket = GunicornSocket {
            app,
            listen,
            only,
            unix: true,
        };
        Ok(socket.render()? + "\n")
    }
}

/// The gunicorn socket unit.
///
/// # Errors
/// When askama fails to render; no case is known.
pub fn gunicorn_socket(app: &App) -> Result<String> {
    let socket = GunicornSocket {
        app,
        listen: app.bind.to_string(),
        only: String::new(),
        unix: matches!(app.bind, Bind::Unix(_)),
    };
    Ok(socket.render()? + "\n")
}

/// The unit of the service's own socket.
///
/// # Errors
/// As [`gunicorn_socket`].
pub fn own_socket(app: &App) -> Result<String> {
    let (listen, unit) = (
        layout::own_socket(&app.name),
        layout::service_unit(&app.name),
    );
    GunicornSocket::private(app, &listen, unit)
}

/// The unit of the bridge's own socket.
///
/// # Errors
/// As [`gunicorn_socket`].
pub fn bridge_socket(app: &App) -> Result<String> {
    let (listen, unit) = (
        layout::bridge_socket(&app.name),
        layout::bridge_unit(&app.name),
    );
    GunicornSocket::private(app, &listen, unit)
}

/// An instance of the app, each in a unit of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Instance {
    /// The one that stays.
    Service,
    /// The one that serves while the service restarts.
    Bridge,
    /// A new release that no visitor reaches.
    Trial,
}

/// The unit of an instance.
#[derive(Template)]
#[template(path = "gunicorn.service", escape = "none", ext = "txt")]
struct GunicornService<'a> {
    app: &'a App,
    common: Common<'a>,
    instance: Instance,
    unit: String,
    workers: u16,
}

impl GunicornService<'_> {
    fn trial_socket(&self) -> String {
        text(&layout::trial_socket(&self.app.name))
    }
    fn trial_runtime(&self) -> String {
        layout::trial_runtime(&self.app.name)
    }
    fn wsgi(&self) -> String {
        let wsgi = self.app.wsgi.as_ref();
        wsgi.map(crate::app::Wsgi::target).unwrap_or_default()
    }
    /// The socket on which this instance alone answers.
    fn own_socket(&self) -> String {
        match self.instance {
            Instance::Bridge => layout::bridge_socket_unit(&self.app.name),
            _ => layout::own_socket_unit(&self.app.name),
        }
    }
    fn is(&self, instance: Instance) -> bool {
        self.instance == instance
    }
}

/// The unit of an instance; requires the app's WSGI callable.
fn unit(app: &App, instance: Instance) -> Result<String> {
    let (unit, current, workers) = match instance {
        Instance::Service => (layout::service_unit(&app.name), app.current(), app.workers),
        // Half of its workers: both start at the same time.
        Instance::Bridge => {
            let half = app.workers.div_ceil(2);
            (layout::bridge_unit(&app.name), app.current(), half)
        }
        Instance::Trial => (layout::trial_unit(&app.name), app.next(), 1),
    };
    let unit = GunicornService {
        app,
        instance,
        unit,
        common: Common::new(app, &current),
        workers,
    };
    Ok(unit.render()? + "\n")
}

/// The gunicorn service unit.
///
/// # Errors
/// As [`gunicorn_socket`].
pub fn gunicorn_service(app: &App) -> Result<String> {
    unit(app, Instance::Service)
}

/// The bridge: like the service unit, with half of its workers.
///
/// # Errors
/// As [`gunicorn_socket`].
pub fn bridge(app: &App) -> Result<String> {
    unit(app, Instance::Bridge)
}

/// The trial unit: like the service unit, with another directory and socket.
///
/// # Errors
/// As [`gunicorn_socket`].
pub fn gunicorn_trial(app: &App) -> Result<String> {
    unit(app, Instance::Trial)
}
