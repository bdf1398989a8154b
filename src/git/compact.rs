//! Keeping the mirror small.
//!
//! Every fetch leaves a pack, and nothing collects them. When many have piled up, everything
//! still reachable is written into one new pack, in a room of its own; each object is read
//! back from there; then the new pack is moved in and synced, and only then do the old ones
//! go. A kill or a power cut at any moment leaves either the old packs or both.

use std::collections::HashSet;
use std::fs;
use std::path::Path;

use git2::{ObjectType, Odb, Oid};

use super::mirror::TIP;
use super::mirror_error::{damaged, trying};
use super::{Mirror, MirrorError, leftovers};

/// So many packs (or loose objects' directories) are no reason to do anything.
const ENOUGH: usize = 20;

impl Mirror {
    /// Packs what is reachable from the last fetched commit and from `keep` (commits that
    /// releases were made from; unknown ones are ignored) into one pack, if more than 20
    /// packs have piled up. `true`: it was done; the rest has been dropped.
    ///
    /// # Errors
    /// [`MirrorError::Damaged`] if something reachable cannot be read: nothing is removed
    /// then.
    pub fn compact(&self, keep: &[Oid]) -> Result<bool, MirrorError> {
        let old = leftovers::pack_files(&self.path)?;
        let packs = old
            .iter()
            .filter(|name| Path::new(name).extension() == Some("pack".as_ref()));
        if packs.count() <= ENOUGH {
            return Ok(false);
        }
        let room = self.path.join(leftovers::ROOM);
        let _ = fs::remove_dir_all(&room);
        let made = room.join("pack");
        fs::create_dir_all(&made).map_err(trying("making", &made))?;
        let count = self.pack_into(&made, keep)?;
        verify(&room, count)?;

        let home = leftovers::pack_dir(&self.path);
        let mut names: Vec<_> = fs::read_dir(&made)
            .and_then(|list| list.map(|entry| Ok(entry?.file_name())).collect())
            .map_err(trying("reading", &made))?;
        // The pack before its index: it is the index that makes a pack count.
        names.sort_by_key(|name| Path::new(name).extension() == Some("idx".as_ref()));
        for name in &names {
            leftovers::sync(&made.join(name))?;
        }
        for name in &names {
            fs::rename(made.join(name), home.join(name))
                .map_err(trying("moving in", &home.join(name)))?;
        }
        leftovers::sync(&home)?;
        let mut gone: Vec<_> = old.iter().filter(|name| !names.contains(name)).collect();
        // And the other way round when they go.
        gone.sort_by_key(|name| Path::new(name).extension() != Some("idx".as_ref()));
        for name in gone {
            leftovers::remove(&home.join(name))?;
        }
        let _ = fs::remove_dir_all(&room);
        self.repo.odb()?.refresh()?;
        Ok(true)
    }

    /// Writes one pack; how many objects it has.
    fn pack_into(&self, dir: &Path, keep: &[Oid]) -> Result<usize, MirrorError> {
        let unreadable = |error| damaged("", &error);
        let mut walk = self.repo.revwalk()?;
        let mut builder = self.repo.packbuilder()?;
        if let Ok(tip) = self.repo.find_reference(TIP) {
            // The tag object itself, where an annotated tag was fetched.
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
        // Not insert_walk: libgit2 goes into trees by recursion, and a history may have any.
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

/// Reads every object back from the new pack alone. Reading compares content and id.
fn verify(room: &Path, expected: usize) -> Result<(), MirrorError> {
    let odb = Odb::new()?;
    let text = room
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
    let what = format!("of {expected} objects {readable} could be read back from the new pack");
    Err(MirrorError::Damaged(what))
}
