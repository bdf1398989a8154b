//! The ledger's file: untrusted input, because the app's account can write anything into it; always written whole.

use anyhow::{Context, Result, anyhow, bail};
use chrono::DateTime;
use serde::Deserialize;

use crate::app::AppName;
use crate::host::{Kind, Lock, Server, View, is_foreign};
use crate::layout;
use crate::state::ledger::{Answered, FORMAT, Ledger};
use crate::state::{Damaged, stamp};

impl Ledger {
    /// Reads an app's ledger; it is empty if the app was never deployed.
    ///
    /// # Errors
    /// [`Damaged`] if its content is invalid; other errors when it cannot be read or has another format.
    pub fn load(view: &View, app: &AppName) -> Result<Self> {
        let ledger = Self::load_stored(view, app)?;
        // The account can put anything there; nothing is opened.
        let time = |by_cron| -> Result<Option<String>> {
            let stat = view.stat(&layout::answered(app, by_cron))?;
            let file = stat.filter(|stat| stat.kind == Kind::File);
            let time = file.and_then(|stat| DateTime::from_timestamp(stat.modified, 0));
            Ok(time.map(stamp))
        };
        Ok(ledger.with_answers(Answered {
            by_cron: time(true)?,
            by_hand: time(false)?,
        }))
    }

    fn load_stored(view: &View, app: &AppName) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let path = layout::ledger(app);
        let damaged = || {
            Damaged(format!(
                "{} is damaged; a poll moves it aside and rebuilds it: sudo pullpray poll {app}",
                path.display()
            ))
        };
        let text = match view.read_untrusted(&path) {
            Ok(Some(text)) => text,
            Ok(None) => return Ok(Self::default()),
            Err(error) if is_foreign(&error) => return Err(error.context(damaged())),
            Err(error) => return Err(error),
        };
        // Another format may have any other fields.
        if let Ok(Format { format }) = serde_json::from_str(&text)
            && format != FORMAT
        {
            bail!(
                "{} has format {format}, and this pullpray reads {FORMAT}",
                path.display()
            );
        }
        serde_json::from_str(&text)
            // The message quotes the file.
            .map_err(|error| anyhow!("{}", error.to_string().escape_debug()))
            .with_context(damaged)
    }

    /// Replaces the file, under the app's lock. Only a session of `deploy` calls this (tests/project/layers.rs).
    ///
    /// # Errors
    /// When it cannot be written; the old file is intact then.
    pub fn persist(&self, server: &Server, app: &AppName, _held: &Lock) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        server.write(&layout::ledger(app), text.as_bytes(), 0o640, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Locked;
    use crate::state::history::{Deployment, Outcome};
    use crate::state::ledger::Release;

    fn release(id: &str) -> Release {
        Release {
            id: id.into(),
            commit: format!("{id:0>40}"),
            subject: "s".into(),
            since: "2026-11-25T12:00:00Z".into(),
            venv: "v".into(),
        }
    }

    #[test]
    fn a_stored_ledger_is_loaded_again() -> Result<()> {
        let root = tempfile::tempdir()?;
        std::fs::create_dir_all(root.path().join("var/lib/pullpray/todo"))?;
        let server = Server::at(root.path());
        let app: AppName = "todo".parse()?;
        assert_eq!(Ledger::load(&server, &app)?, Ledger::default());
        let mut ledger = Ledger::default();
        for id in ["1", "2"] {
            let at = "2026-11-25T12:00:00Z".to_owned();
            let ended = Deployment::of(&release(id), at, 1.0, Outcome::Live);
            ledger.went_live(release(id), ended);
        }
        let Locked::Held(lock) = server.lock(&layout::state(&app))? else {
            anyhow::bail!("it is locked");
        };
        ledger.persist(&server, &app, &lock)?;
        let again = Ledger::load(&server, &app)?;
        assert_eq!(again, ledger);
        assert_eq!(again.previous().map(|r| r.id.as_str()), Some("1"));
        std::fs::write(
            root.path().join("var/lib/pullpray/todo/ledger.json"),
            "{\"format\":1",
        )?;
        let damaged = Ledger::load(&server, &app).map_err(|error| error.is::<Damaged>());
        assert_eq!(damaged, Err(true));
        let text = serde_json::to_string(&ledger)?.replacen("Z\"", "\"", 1);
        let rebuilt = |text| Ledger::rebuilt(text, Vec::new(), None, String::new());
        let (rebuilt_from_all, parsed) = rebuilt(&text);
        assert!(parsed && rebuilt_from_all.history() == ledger.history());
        assert_eq!(rebuilt(&text[1..]), (Ledger::default(), false));
        Ok(())
    }
}
