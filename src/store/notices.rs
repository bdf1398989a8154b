//! The state of an app's notices. The app's account can write anything there; what cannot be read counts as empty.

use anyhow::Result;

use crate::app::AppName;
use crate::host::{Server, View, effective_uid};
use crate::layout;
use crate::state::notices::Notices;

/// More is not pullpray's.
const MOST_BYTES: usize = 1024 * 1024;

impl Notices {
    /// Reads them: what this boot keeps of them, else the file on the disk.
    #[must_use]
    pub fn load(view: &View, app: &AppName) -> Self {
        let kept = layout::notices_of_this_boot(app);
        let own = view.stat(&kept).ok().flatten();
        let own = own.is_some_and(|stat| stat.uid == effective_uid());
        let file = if own { kept } else { layout::notices(app) };
        let text = view.read_untrusted(&file).ok().flatten();
        text.filter(|text| text.len() <= MOST_BYTES)
            .and_then(|text| serde_json::from_str(&text).ok())
            .unwrap_or_default()
    }

    /// Writes them, or removes the file if there is nothing. Where the disk is full or not mounted, they are kept until
    /// the next boot.
    ///
    /// # Errors
    /// When even that fails.
    pub fn save(&self, server: &Server, app: &AppName) -> Result<()> {
        let (file, kept) = (layout::notices(app), layout::notices_of_this_boot(app));
        let text = serde_json::to_vec_pretty(self)?;
        let saved = match server.stat(&file) {
            Ok(Some(_)) if *self == Self::default() => server.remove_file(&file),
            Ok(None) if *self == Self::default() => Ok(()),
            _ => server.write(&file, &text, 0o640, None),
        };
        match saved {
            Ok(()) if server.stat(&kept)?.is_some() => server.remove_file(&kept),
            Ok(()) => Ok(()),
            Err(_) => server.write(&kept, &text, 0o600, None),
        }
    }
}
