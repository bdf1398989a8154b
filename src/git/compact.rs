//! Repacks the mirror.
//!
//! Every fetch adds a pack, and libgit2 never merges them. When there are many, all reachable objects are written to one
//! new pack in a directory of its own and read back from there; then the new pack is synced and moved into place, and
//! only then are the old ones removed. A kill or a power cut at any moment leaves the old packs, or both.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use git2::{ObjectType, Odb, Oid};

use super::mirror::TIP;
use super::mirror_error::{damaged, trying};
use super::{Mirror, MirrorError, leftovers};

/// Number of packs above which the mirror is repacked.
const MAX_PACKS: usize = 20;

impl Mirror {
    /// If there are more than 20 packs, writes all objects reachable from the last fetched commit and from `keep`
    /// (commits of releases; unknown ones are ignored) to one pack and removes all others. Returns whether it did.
    ///
    /// # Errors
    /// [`MirrorError::Damaged`] if a reachable object cannot be read; then nothing is removed.
    pub fn compact(&self, keep: &[Oid]) -> Result<bool, MirrorError> {
        let old = leftovers::pack_files(&self.path)?;
        let packs = old
            .iter()
            .filter(|name| Path::new(name).extension() == Some("pack".as_ref()));
        if packs.count() <= MAX_PACKS {
            return Ok(false);
        }
        let staging = self.path.join(leftovers::STAGING_DIR);
        let _ = fs::remove_dir_all(&staging);
        let made = staging.join("pack");
        fs::create_dir_all(&made).map_err(trying("creating", &made))?;
        let count = self.pack_into(&made, keep)?;
        verify(&staging, count)?;

        let pack_dir = leftovers::pack_dir(&self.path);
        let mut names: Vec<_> = fs::read_dir(&made)
            .and_then(|list| list.map(|entry| Ok(entry?.file_name())).collect())
            .map_err(trying("reading", &made))?;
        // The pack before its index: libgit2 uses a pack as soon as its index exists.
        names.sort_by_key(|name| Path::new(name).extension() == Some("idx".as_ref()));
        for name in &names {
            leftovers::sync(&made.join(name))?;
        }
        for name in &names {
            fs::rename(made.join(name), pack_dir.join(name))
                .map_err(trying("moving into place", &pack_dir.join(name)))?;
        }
        leftovers::sync(&pack_dir)?;
        let mut obsolete: Vec<_> = old.iter().filter(|name| !names.contains(name)).collect();
        // Removed in reverse order: the index before its pack.
        obsolete.sort_by_key(|name| Path::new(name).extension() != Some("idx".as_ref()));
        for name in obsolete {
            leftovers::remove(&pack_dir.join(name))?;
        }
        let _ = fs::remove_dir_all(&staging);
        self.repo.odb()?.refresh()?;
        Ok(true)
    }

    /// Writes one pack and returns its number of objects.
    fn pack_into(&self, dir: &Path, keep: &[Oid]) -> Result<usize, MirrorError> {
        let unreadable = |error| damaged("", &error);
        let mut walk = self.repo.revwalk()?;
        let mut builder = self.repo.packbuilder()?;
        if let Ok(tip) = self.repo.find_reference(TIP) {
            // The tag object itself, if an annotated tag was fetched.
            if let Some(target) = tip.target() {
                builder.insert_object(target, None).map_err(unreadable)?;
            }
            walk.push(tip.peel_to_commit().map_err(unreadable)?.id())?;
        }
        for oid in keep
            .iter()
            .filter(|oid| self.repo.find_commit(**oid).is_ok())
        {
            walk.push(*oid)?;
        }
        // Not insert_walk: libgit2 recurses into trees, and a history may contain trees of any depth.
        let mut seen = HashSet::new();
        for commit in walk {
            let commit = commit.map_err(unreadable)?;
            builder.insert_object(commit, None).map_err(unreadable)?;
            let tree = self.find_commit(commit)?.tree_id();
            let mut trees = vec![tree];
            while let Some(oid) = trees.pop() {
                if !seen.insert(oid) {
                    continue;
                }
                builder.insert_object(oid, None).map_err(unreadable)?;
                for entry in &self.repo.find_tree(oid).map_err(unreadable)? {
                    match entry.kind() {
                        Some(ObjectType::Tree) => trees.push(entry.id()),
                        Some(ObjectType::Blob) if seen.insert(entry.id()) => {
                            let name = str::from_utf8(entry.name_bytes()).ok();
                            builder
                                .insert_object(entry.id(), name)
                                .map_err(unreadable)?;
                        }
                        _ => {}
                    }
                }
            }
        }
        builder.write(dir, 0).map_err(unreadable)?;
        Ok(builder.object_count())
    }
}

/// Reads every object back from the new pack. Reading compares the content with the id.
fn verify(staging: &Path, expected: usize) -> Result<(), MirrorError> {
    let odb = Odb::new()?;
    let text = staging
        .to_str()
        .ok_or_else(|| MirrorError::Missing("a UTF-8 path of the mirror".into()))?;
    odb.add_disk_alternate(text)?;
    let mut ids = Vec::with_capacity(expected);
    odb.foreach(|oid| {
        ids.push(*oid);
        true
    })?;
    ids.sort_unstable();
    ids.dedup();
    let readable = ids.iter().filter(|oid| odb.read(**oid).is_ok()).count();
    if readable == expected && ids.len() == expected {
        return Ok(());
    }
    let what =
        format!("only {readable} of {expected} objects could be read back from the new pack");
    Err(MirrorError::Damaged(what))
}
