//! Two apps on one server: what both need stays until the second is removed.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use super::state::difference;
use super::world::World;
use crate::layout;
use crate::provision::StepId;
use crate::state::receipt::Receipt;

/// A program in /usr, which both apps run.
fn program() -> Result<std::path::PathBuf> {
    let own = std::env::current_exe()?;
    Ok(Path::new("/usr/local/bin").join(own.file_name().context("no name")?))
}

#[test]
fn the_first_removal_hands_over_what_the_other_needs() -> Result<()> {
    for first in [true, false] {
        let (mut world, mut other) = World::new()?.beside("blog")?;
        other.program = program()?;
        world.app.program = program()?;
        let before = world.state()?;
        world.init()?;
        world.server.clock.sleep(Duration::from_secs(60));
        world.init_app(&other)?;
        let (gone, stays) = if first {
            (&world.app, &other)
        } else {
            (&other, &world.app)
        };
        let kept = world.remove_app(gone, &[stays])?;
        let program = format!("file {}", world.app.program.display());
        // Only the receipt of the one that was set up first has it.
        let kept_program = kept.contains(&(program, stays.name.to_string()));
        assert_eq!(kept_program, first, "{kept:?}");
        // Of the one nothing is left, of the other everything.
        let (files, ..) = world.state()?;
        let named = |name: &str| {
            files
                .keys()
                .filter(|path| path.to_string_lossy().contains(name))
                .count()
        };
        let gone_name = gone.name.as_str();
        // Its agent's socket was there before.
        assert_eq!(
            named(&format!("pullpray/{gone_name}")) + named(&format!("gunicorn.{gone_name}")),
            0
        );
        world.server.changes();
        world.init_app(stays)?;
        assert_eq!(world.server.changes(), [""; 0]);
        // The first one's directories are in the other's receipt.
        let receipt = Receipt::load(&world.server.server, &stays.name)?;
        assert!(receipt.before(Path::new(layout::KEYS_DIR)).is_some());
        let kept = world.remove_app(stays, &[])?;
        assert!(kept.is_empty(), "{kept:?}");
        assert_eq!(difference(&world.state()?, &before), [""; 0]);
    }
    Ok(())
}

#[test]
fn apps_may_not_share_accounts_or_directories() -> Result<()> {
    let (mut world, other) = World::new()?.beside("blog")?;
    world.init_app(&other)?;
    let own = world.app.clone();
    let refused = |world: &World, id, text: &str| -> Result<()> {
        let finding = world.find(id)?;
        assert!(finding.summary().contains(text), "{finding:?}");
        assert!(world.fix(id).is_err());
        Ok(())
    };
    world.app.user = other.user.clone();
    refused(&world, StepId::AccountUser, "blog runs as gunicorn-blog")?;
    world.app = crate::app::App {
        group: other.group.clone(),
        ..own.clone()
    };
    refused(
        &world,
        StepId::AccountGroup,
        "also uses the group gunicorn-blog",
    )?;
    world.app = crate::app::App {
        operator: Some(other.user.clone()),
        ..own.clone()
    };
    world.server.accounts.add("gunicorn", 1500, 1500);
    refused(&world, StepId::AccountOperator, "gunicorn-blog runs blog")?;
    world.app = crate::app::App {
        project_dir: other.project_dir.clone(),
        ..own.clone()
    };
    refused(
        &world,
        StepId::ProjectDirectories,
        "overlaps /var/www/projects/blog of the app blog",
    )?;
    world.app = own;
    for group in &mut world.server.accounts.table().groups {
        if group.name == "gunicorn" {
            group.members.push("gunicorn-blog".to_owned());
        }
    }
    refused(
        &world,
        StepId::AccountGroup,
        "gunicorn-blog, which runs blog, is a member of gunicorn",
    )?;
    Ok(())
}

#[test]
fn unreadable_settings_of_another_app_stop_a_removal() -> Result<()> {
    let (world, other) = World::new()?.beside("blog")?;
    world.init()?;
    world.init_app(&other)?;
    fs::write(
        world.server.real(layout::settings(&other.name)),
        "format = 9\n",
    )?;
    let error = world
        .remove_app(&world.app, &[&other])
        .err()
        .map(|error| format!("{error:#}"));
    assert!(error.is_some_and(|text| {
        text.starts_with("failed to read the settings in /etc/pullpray/blog.toml")
    }));
    Ok(())
}

#[test]
fn the_one_that_was_set_up_first_knows_what_existed_before() -> Result<()> {
    for first in [true, false] {
        let (world, other) = World::new()?.beside("blog")?;
        let shared = world.server.real(layout::SETTINGS_DIR);
        fs::create_dir(&shared)?;
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o711))?;
        chown(&shared, Some(1000), Some(1000))?;
        let before = world.state()?;
        world.init()?;
        world.server.clock.sleep(Duration::from_secs(60));
        world.init_app(&other)?;
        let (gone, stays) = if first {
            (&world.app, &other)
        } else {
            (&other, &world.app)
        };
        world.remove_app(gone, &[stays])?;
        world.remove_app(stays, &[])?;
        assert_eq!(difference(&world.state()?, &before), [""; 0], "{first}");
    }
    Ok(())
}
