//! The health check: what the app answers, after redirects on the same host.

use std::fmt;
use std::time::{Duration, Instant};

use crate::app::{App, Bind};

use super::View;
use super::http::HttpError;

/// The last response to a health check, and the redirects that led to it.
#[derive(Debug, Clone)]
pub struct Health {
    /// Status code.
    pub status: u16,
    /// Time that all requests took.
    pub took: Duration,
    /// Whether the status is that of a healthy app.
    pub is_healthy: bool,
    /// The redirects that were followed, and one that was not: `301 to https://…`.
    redirects: Vec<String>,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for redirect in &self.redirects {
            write!(f, "{redirect} → ")?;
        }
        write!(f, "{}", self.status)?;
        match self.status {
            _ if self.is_healthy => Ok(()),
            300..=399 => write!(
                f,
                "; a redirect must end at a page of health_host (https is asked with X-Forwarded-Proto: https, as nginx would), or the settings accept it: health_status = [{}]",
                self.status
            ),
            status @ (401 | 403) => {
                write!(f, "; health_status = [{status}] in the settings accepts it")
            }
            _ => Ok(()),
        }
    }
}

/// Most redirects that one health check follows.
const REDIRECTS: usize = 5;

impl View {
    /// Requests the app's health path where it listens, and follows redirects to the same host: also those to https,
    /// which end at a proxy in front of the app.
    ///
    /// # Errors
    /// [`HttpError`] if there is no response within `patience`.
    pub fn health(&self, app: &App, bind: &Bind, patience: Duration) -> Result<Health, HttpError> {
        let (host, started) = (&app.health_host, Instant::now());
        let (mut path, mut https) = (app.health_path.to_string(), false);
        let (mut redirects, mut took) = (Vec::new(), Duration::ZERO);
        loop {
            let left = patience.saturating_sub(started.elapsed());
            let left = left.max(Duration::from_millis(1));
            let response = (self.outside.http).get(bind, &path, host, https, left)?;
            let status = response.status;
            took += response.took;
            let is_healthy =
                (200..300).contains(&status) || app.limits.health_status.contains(&status);
            let location = response
                .location
                .filter(|_| (300..400).contains(&status) && !is_healthy);
            let next = location
                .as_deref()
                .and_then(|to| follow(&path, host.as_str(), to));
            redirects.extend(location.map(|to| format!("{status} to {to}")));
            match next {
                // Once it was https it stays so: an app that knows nothing of its proxy redirects to http.
                Some((to, secure))
                    if redirects.len() <= REDIRECTS && (&to, secure || https) != (&path, https) =>
                {
                    (path, https) = (to, secure || https);
                }
                _ => {
                    return Ok(Health {
                        status,
                        took,
                        is_healthy,
                        redirects,
                    });
                }
            }
        }
    }
}

/// The path that a redirect from `path` leads to, and whether by https; `None` if it leads to another host.
fn follow(path: &str, host: &str, location: &str) -> Option<(String, bool)> {
    let location = location.split('#').next().unwrap_or_default();
    let name = |host: &str| {
        host.split(':')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    let (scheme, rest) = match location.split_once("//") {
        Some((scheme @ ("" | "http:" | "https:"), rest)) => (scheme, Some(rest)),
        _ => ("", None),
    };
    let to = match rest {
        Some(rest) => {
            let (there, _) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
            let below = &rest[there.len()..];
            (name(there) == name(host)).then(|| {
                if below.starts_with('/') {
                    below.to_owned()
                } else {
                    format!("/{below}")
                }
            })?
        }
        None if location.starts_with('/') => location.to_owned(),
        None => {
            let file = path.split('?').next().unwrap_or_default();
            let keep = if location.starts_with('?') {
                file.len()
            } else {
                file.rfind('/')? + 1
            };
            format!("{}{location}", &file[..keep])
        }
    };
    Some((to, scheme == "https:"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_on_the_host_are_followed() {
        let from = |location: &str| follow("/a/b?c=1", "www.example.org:8000", location);
        for (location, to, https) in [
            ("https://www.example.org/a/b?c=1", "/a/b?c=1", true),
            ("https://WWW.example.org", "/", true),
            ("http://www.example.org:81?d=//x", "/?d=//x", false),
            ("//www.example.org/e#f", "/e", false),
            (
                "/login/?next=https://x.org/",
                "/login/?next=https://x.org/",
                false,
            ),
            ("login/", "/a/login/", false),
            ("?d=2", "/a/b?d=2", false),
        ] {
            assert_eq!(from(location), Some((to.to_owned(), https)), "{location}");
        }
        for location in [
            "https://example.org/",
            "//www.example.org.evil/",
            "https://a@www.example.org/",
        ] {
            assert_eq!(from(location), None, "{location}");
        }
    }
}
