//! Persistent paths.

use anyhow::{Result, ensure};

use super::Site;
use super::failing::fails;
use crate::state::history::Stage;

#[test]
fn what_must_be_shared_and_is_missing_stops_a_deployment() -> Result<()> {
    let site =
        Site::with_settings("shared_paths = [\"db.sqlite3\", \"media/\", \"conf/local.py\"]\n")?;
    let (stage, why, _) = fails(&site, &[])?;
    ensure!(
        stage == Stage::Checkout && why.contains("/shared/db.sqlite3 is missing"),
        "{why}"
    );
    for name in ["db.sqlite3", "conf/local.py"] {
        site.test.put(site.app.shared().join(name), "kept", 0o644)?;
    }
    site.commit("one", &[("media", "a file where the directory will be")])?;
    site.poll()?;
    site.settled("one")?;
    let dir = site.dir_of(&site.live_release()?);
    for (name, target) in [
        ("db.sqlite3", "db.sqlite3"),
        ("media", "media/"),
        ("conf/local.py", "conf/local.py"),
    ] {
        let link = std::fs::read_link(dir.join(name))?;
        assert_eq!(link, site.app.shared().join(target));
    }
    Ok(())
}

#[test]
fn what_is_tracked_below_a_shared_directory_is_kept() -> Result<()> {
    let site = Site::with_settings("shared_paths = [\"media/\"]\n")?;
    let shared = site.app.shared().join("media");
    site.test.put(shared.join("logo.png"), "theirs", 0o644)?;
    site.commit(
        "one",
        &[
            ("media/avatars/default.png", "tracked"),
            ("media/logo.png", "tracked"),
            ("media/latest@", "logo.png"),
        ],
    )?;
    site.poll()?;
    site.settled("one")?;
    let said = site.said.lock().expect("no panic").join("\n");
    ensure!(said.contains("being links: 1"), "{said}");
    let read = |name: &str| std::fs::read_to_string(site.test.real(shared.join(name)));
    assert_eq!(read("avatars/default.png")?, "tracked");
    assert_eq!(read("logo.png")?, "theirs");
    // A later commit changes no file of the app's, and nothing is written through a link or below a file.
    let outside = site.test.real("/srv/outside");
    std::fs::create_dir_all(&outside)?;
    std::os::unix::fs::symlink(&outside, site.test.real(shared.join("linked")))?;
    site.commit(
        "two",
        &[
            ("media/avatars/default.png", "changed"),
            ("media/linked/file", "tracked"),
            ("media/logo.png/file", "tracked"),
        ],
    )?;
    site.poll()?;
    site.settled("two")?;
    assert_eq!(read("avatars/default.png")?, "tracked");
    assert_eq!(std::fs::read_dir(outside)?.count(), 0);
    Ok(())
}
