//! An app with set answers instead of HTTP.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use super::super::{Http, HttpError, Response};
use super::lock;
use crate::app::{Bind, HealthHost};

/// A request: where, path, and whether it came by https.
pub type Request<'a> = (&'a Bind, &'a str, bool);
type Answer = dyn Fn(Request<'_>) -> Result<Response, HttpError> + Send;

/// An app with set answers; at first nothing answers.
pub struct FakeHttp(Mutex<Box<Answer>>);

impl fmt::Debug for FakeHttp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FakeHttp")
    }
}

impl Default for FakeHttp {
    fn default() -> Self {
        Self(Mutex::new(Box::new(|_| {
            Err(HttpError::Refused("Connection refused".to_owned()))
        })))
    }
}

impl FakeHttp {
    /// How requests are answered from now on: with this status code, or this error.
    pub fn answer(&self, answer: impl Fn(Request<'_>) -> Result<u16, HttpError> + Send + 'static) {
        self.redirect(move |request| Ok((answer(request)?, None)));
    }

    /// As [`Self::answer`], with the location of a redirect.
    pub fn redirect<F>(&self, answer: F)
    where
        F: Fn(Request<'_>) -> Result<(u16, Option<&'static str>), HttpError> + Send + 'static,
    {
        *lock(&self.0) = Box::new(move |request| {
            let (status, location) = answer(request)?;
            Ok(Response {
                status,
                took: Duration::from_millis(3),
                location: location.map(str::to_owned),
            })
        });
    }
}

impl Http for FakeHttp {
    fn get(
        &self,
        bind: &Bind,
        path: &str,
        _host: &HealthHost,
        https: bool,
        _patience: Duration,
    ) -> Result<Response, HttpError> {
        (lock(&self.0))((bind, path, https))
    }
}
