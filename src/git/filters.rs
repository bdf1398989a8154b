//! Files that git would change in a checkout by a program or an encoding of their .gitattributes. libgit2 runs
//! neither, so the stored bytes would go live: Git LFS pointers, ciphertext.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use git2::{AttrCheckFlags, AttrValue, Index, Oid, Repository};

use super::{Mirror, MirrorError};

/// The attribute of files that are stored as UTF-8 and checked out in another encoding.
const ENCODING: &str = "working-tree-encoding";
/// How a Git LFS pointer begins. A file that has the filter and is none is stored as it is.
const POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";

impl Mirror {
    /// The .gitattributes of a commit.
    pub(super) fn attributes(&self, oid: Oid) -> Result<Vec<(PathBuf, Oid)>, MirrorError> {
        let name = |path: &Path| path.file_name() == Some(".gitattributes".as_ref());
        self.blobs(oid, &name)
    }

    /// Returns the files that a checkout leaves unfiltered, by the name of their filter, or `working-tree-encoding`.
    ///
    /// # Errors
    /// When the commit is unknown or unreadable.
    pub fn unfiltered(&self, oid: Oid) -> Result<BTreeMap<String, Vec<PathBuf>>, MirrorError> {
        let mut found: BTreeMap<String, Vec<PathBuf>> = BTreeMap::new();
        let mut any = false;
        for (_, attributes) in self.attributes(oid)? {
            let blob = self.repo.find_blob(attributes)?;
            let has = |word: &[u8]| blob.content().windows(word.len()).any(|part| part == word);
            any |= has(b"filter") || has(ENCODING.as_bytes());
        }
        if !any {
            return Ok(found);
        }
        // A separate handle: the mirror has no index.
        let repo = Repository::open_bare(&self.path)?;
        let mut index = Index::new()?;
        repo.set_index(&mut index)?;
        index.read_tree(&self.find_commit(oid)?.tree()?)?;
        self.walk(oid, &mut |path, entry| {
            // Not links: git filters files only.
            if !matches!(entry.mode, 0o100_644 | 0o100_755) {
                return Ok(());
            }
            let value = |name| -> Result<Option<String>, MirrorError> {
                let flags = AttrCheckFlags::INDEX_ONLY | AttrCheckFlags::NO_SYSTEM;
                let value = AttrValue::from_bytes(repo.get_attr_bytes(path, name, flags)?);
                Ok(match value {
                    AttrValue::String(text) => Some(text.to_owned()),
                    AttrValue::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
                    _ => None,
                })
            };
            let stored = || self.repo.find_blob(entry.oid);
            let kind = match value("filter")? {
                Some(filter) if filter == "lfs" && !stored()?.content().starts_with(POINTER) => {
                    None
                }
                Some(_) if stored()?.size() == 0 => None,
                filter => filter,
            };
            let encoding = value(ENCODING)?.filter(|name| !name.eq_ignore_ascii_case("utf-8"));
            if let Some(kind) = kind.or(encoding.map(|_| ENCODING.to_owned())) {
                found.entry(kind).or_default().push(path.to_owned());
            }
            Ok(())
        })?;
        Ok(found)
    }
}
