//! Images that are built once and booted many times: a git host with its repository, and for each
//! release a web server on which todo is live. Each is an overlay over the pristine image, valid
//! until the program or the fixture changes.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow};
use nix::fcntl::{Flock, FlockArg};

use super::tool::{TESTS, home};
use super::web_server::PULLPRAY;

/// Returns the name of the image for `kind`; calls `make` with the name if the image does not exist.
/// Other callers, also in other processes, wait.
pub fn layer(kind: &str, make: impl FnOnce(&str) -> Result<()>) -> Result<String> {
    let images = home().join("img");
    let name = format!("{kind}-{}", inputs_digest()?);
    fs::create_dir_all(&images)?;
    let lock = File::create(images.join(format!(".{kind}.lock")))?;
    let _lock = Flock::lock(lock, FlockArg::LockExclusive)
        .map_err(|(_, errno)| anyhow!("failed to lock the image {kind}: {errno}"))?;
    if !images.join(&name).is_dir() {
        make(&name).with_context(|| format!("failed to make the image {name}"))?;
    }
    Ok(name)
}

/// A digest of the inputs of every layer, as 16 digits: the program, and what the fixture copies to servers.
fn inputs_digest() -> Result<&'static str> {
    static DIGITS: OnceLock<String> = OnceLock::new();
    if let Some(digits) = DIGITS.get() {
        return Ok(digits);
    }
    let mut hasher = DefaultHasher::new();
    for path in ["inside", "project", "fresh-server", "lab"] {
        feed(&mut hasher, &Path::new(TESTS).join(path))?;
    }
    feed(&mut hasher, Path::new(PULLPRAY))?;
    Ok(DIGITS.get_or_init(|| format!("{:016x}", hasher.finish())))
}

fn feed(hasher: &mut DefaultHasher, path: &Path) -> Result<()> {
    if path.is_dir() {
        let mut inside: Vec<PathBuf> = fs::read_dir(path)?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        inside.sort();
        return inside.iter().try_for_each(|path| feed(hasher, path));
    }
    hasher.write(path.as_os_str().as_encoded_bytes());
    hasher.write(&fs::read(path).with_context(|| path.display().to_string())?);
    Ok(())
}
