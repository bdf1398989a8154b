//! An app with set answers instead of HTTP.

use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use super::super::{Http, HttpError, Response};
use super::lock;
use crate::app::{Bind, HealthHost, HealthPath};

/// A request: where, path, host.
pub type Request<'a> = (&'a Bind, &'a HealthPath, &'a HealthHost);
type Answer = dyn Fn(Request<'_>) -> Result<u16, HttpError> + Send;

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
        *lock(&self.0) = Box::new(answer);
    }
}

impl Http for FakeHttp {
    fn get(
        &self,
        bind: &Bind,
        path: &HealthPath,
        host: &HealthHost,
        _patience: Duration,
    ) -> Result<Response, HttpError> {
        let status = (lock(&self.0))((bind, path, host))?;
        let took = Duration::from_millis(3);
        Ok(Response { status, took })
    }
}
