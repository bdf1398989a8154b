//! The error for rejected input.

use std::fmt;

/// Why an input was rejected, and what would be accepted.
///
/// Both are fragments without a final full stop, so that a caller can put the name of the answer
/// in front (`--bind: port 0 …`) or show them below a question of the wizard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// What is wrong with the input.
    pub why: String,
    /// What to write instead, if known.
    pub hint: Option<String>,
}

impl Invalid {
    /// Rejects input for this reason.
    pub fn new(why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            hint: None,
        }
    }

    /// Adds what to write instead.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)?;
        if let Some(hint) = &self.hint {
            write!(f, "; {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Invalid {}
