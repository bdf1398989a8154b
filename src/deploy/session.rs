//! A session: one process that holds the app's lock and may change its ledger.
//!
//! What is in memory is what is on the disk: every transition is stored before anything else happens, and one that
//! cannot be stored did not happen.

use std::ops::Deref;

use anyhow::Result;

use crate::host::Lock;
use crate::layout;
use crate::state::ledger::{Ledger, Release};

use super::Poll;

/// The lock, the ledger, and what the poll works with.
pub(super) struct Session<'a> {
    poll: &'a Poll<'a>,
    lock: Lock,
    ledger: Ledger,
}

impl<'a> Session<'a> {
    /// Begins with the ledger as it is stored.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged.
    pub(super) fn open(poll: &'a Poll<'a>, lock: Lock) -> Result<Self> {
        let ledger = Ledger::load(poll.server, &poll.app.name)?;
        Ok(Self::with_stored(poll, lock, ledger))
    }

    /// Begins with the ledger as it was read under the lock.
    pub(super) fn with_stored(poll: &'a Poll<'a>, lock: Lock, ledger: Ledger) -> Self {
        // A killed poll may have left it, and a poll that changes nothing stores nothing. If it cannot be removed, the
        // next store says why.
        drop(poll.server.remove_leftover(&layout::ledger(&poll.app.name)));
        Self { poll, lock, ledger }
    }

    /// Begins with a rebuilt ledger, and stores it.
    ///
    /// # Errors
    /// When it cannot be stored.
    pub(super) fn with_rebuilt(poll: &'a Poll<'a>, lock: Lock, ledger: Ledger) -> Result<Self> {
        let session = Self { poll, lock, ledger };
        session.store()?;
        Ok(session)
    }

    /// What the poll works with, for longer than this borrow.
    pub(super) fn poll(&self) -> &'a Poll<'a> {
        self.poll
    }

    /// The ledger, as it is stored.
    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The live release.
    pub(super) fn live(&self) -> Option<Release> {
        self.ledger.live().cloned()
    }

    /// The git host answered. Its time is no news: nothing of this has to last.
    ///
    /// # Errors
    /// When the time cannot be noted, or the end of an outage cannot be stored.
    pub(super) fn answered(&mut self) -> Result<()> {
        let path = layout::answered(&self.app.name, self.by_cron);
        self.server.touch(&path, self.clock.now())?;
        self.record(Ledger::reachable)
    }

    /// Makes a transition of the ledger, and stores it if it changed anything.
    ///
    /// # Errors
    /// When it cannot be stored; the transition did not happen then.
    pub(super) fn record<T>(&mut self, transition: impl FnOnce(&mut Ledger) -> T) -> Result<T> {
        let before = self.ledger.clone();
        let result = transition(&mut self.ledger);
        if self.ledger != before
            && let Err(error) = self.store()
        {
            self.ledger = before;
            return Err(error);
        }
        Ok(result)
    }

    /// Stores the ledger, which proves that it can be stored.
    ///
    /// # Errors
    /// When it cannot.
    pub(super) fn store(&self) -> Result<()> {
        let poll = self.poll;
        self.ledger.persist(poll.server, &poll.app.name, &self.lock)
    }
}

impl<'a> Deref for Session<'a> {
    type Target = Poll<'a>;
    fn deref(&self) -> &Poll<'a> {
        self.poll
    }
}
