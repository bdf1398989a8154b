//! The state of an app's notices. The app's account can write anything there; what cannot be read counts as empty.

use std::path::PathBuf;

use anyhow::Result;

use crate::app::AppName;
use crate::host::{Server, View};
use crate::layout;
use crate::state::notices::Notices;

fn file(app: &AppName) -> PathBuf {
    layout::notices(app).join("state.json")
}

impl Notices {
    /// Reads them.
    #[must_use]
    pub fn load(view: &View, app: &AppName) -> Self {
        let text = view.read_untrusted(&file(app)).ok().flatten();
        text.and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default()
    }

    /// Writes them, or removes the file if there is nothing.
    ///
    /// # Errors
    /// When that fails.
    pub fn save(&self, server: &Server, app: &AppName) -> Result<()> {
        let path = file(app);
        if *self == Self::default() {
            return match server.stat(&path)? {
                Some(_) => server.remove_file(&path),
                None => Ok(()),
            };
        }
        server.write(&path, &serde_json::to_vec_pretty(self)?, 0o640, None)
    }
}
