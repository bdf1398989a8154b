//! How much memory libgit2 may have, whatever a git host sends.
//!
//! An object of gigabytes fits into a few kilobytes of a pack, and libgit2 (1.9) has no bound for the size of one:
//! it asks for what the object says it needs. So it gets its memory here, and nothing beyond the bound: it then
//! fails as it does when memory has run out, and this process goes on.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};

use git2::Error;
use nix::libc;

/// Beside the largest file: objects' names while a pack is indexed, parsed trees, buffers.
const BESIDE: isize = 50 << 20;

/// How large what is deployed may be, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// One file.
    pub file: u64,
    /// All of them.
    pub whole: u64,
}

static MOST: AtomicIsize = AtomicIsize::new(BESIDE * 3);
static TAKEN: AtomicIsize = AtomicIsize::new(0);
static REACHED: AtomicBool = AtomicBool::new(false);

/// Lets libgit2 have memory for files of so many bytes.
pub fn allow_files_of(bytes: u64) {
    let bytes = isize::try_from(bytes).unwrap_or(isize::MAX);
    MOST.store(bytes.saturating_add(BESIDE), Relaxed);
}

/// Whether the bound was reached since this was asked last.
pub(super) fn reached() -> bool {
    REACHED.swap(false, Relaxed)
}

/// As `git_allocator` of git2/sys/alloc.h.
#[repr(C)]
struct Allocator {
    malloc: unsafe extern "C" fn(usize, *const c_char, c_int) -> *mut c_void,
    realloc: unsafe extern "C" fn(*mut c_void, usize, *const c_char, c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
}

/// Makes libgit2 take its memory here, and map and cache little of what is on the disk.
#[expect(
    unsafe_code,
    reason = "libgit2's settings and allocator have no safe calls"
)]
pub(super) fn prepare() -> Result<(), Error> {
    let allocator = Allocator {
        malloc,
        realloc,
        free,
    };
    let option = libgit2_sys::GIT_OPT_SET_ALLOCATOR.cast_signed();
    // SAFETY: libgit2 copies the structure, whose layout is its own. What it took before comes from the
    // same malloc(3).
    unsafe {
        if libgit2_sys::git_libgit2_opts(option, &raw const allocator) != 0 {
            return Err(Error::from_str("libgit2 takes no allocator"));
        }
        git2::opts::set_cache_max_size(8 << 20)?;
        git2::opts::set_mwindow_size(4 << 20)?;
        git2::opts::set_mwindow_mapped_limit(16 << 20)
    }
}

/// Whether there may be so many bytes more.
fn fits(more: usize) -> bool {
    let taken = TAKEN.load(Relaxed);
    let fits =
        isize::try_from(more).is_ok_and(|more| taken.saturating_add(more) <= MOST.load(Relaxed));
    if !fits {
        REACHED.store(true, Relaxed);
    }
    fits
}

/// # Safety
/// As malloc(3).
#[expect(unsafe_code, reason = "called from C")]
unsafe extern "C" fn malloc(size: usize, file: *const c_char, line: c_int) -> *mut c_void {
    // SAFETY: a null pointer stands for a new block.
    unsafe { realloc(ptr::null_mut(), size, file, line) }
}

/// # Safety
/// As realloc(3).
#[expect(unsafe_code, reason = "called from C")]
unsafe extern "C" fn realloc(
    block: *mut c_void,
    size: usize,
    _: *const c_char,
    _: c_int,
) -> *mut c_void {
    // SAFETY: malloc_usable_size(3) takes null, and blocks of malloc(3), which all of libgit2's are. realloc(3)
    // leaves the old block alone when it fails; of size 0 it would free it.
    unsafe {
        let before = libc::malloc_usable_size(block);
        if !fits(size.saturating_sub(before)) {
            return ptr::null_mut();
        }
        let new = libc::realloc(block, size.max(1));
        if !new.is_null() {
            let after = libc::malloc_usable_size(new);
            TAKEN.fetch_add(after.cast_signed() - before.cast_signed(), Relaxed);
        }
        new
    }
}

/// # Safety
/// As free(3).
#[expect(unsafe_code, reason = "called from C")]
unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: libgit2 frees what it was given here, or by malloc(3) before.
    unsafe {
        TAKEN.fetch_sub(libc::malloc_usable_size(block).cast_signed(), Relaxed);
        libc::free(block);
    }
}
