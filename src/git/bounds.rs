//! Limits libgit2's memory, whatever a git host sends.
//!
//! A few kilobytes of a pack can contain an object of gigabytes, and libgit2 (1.9) does not limit the size of objects:
//! it allocates what the object's header says. So this allocator refuses memory above a limit; libgit2 then fails as
//! it does when memory runs out, and this process continues.

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed};

use git2::Error;
use nix::libc;

/// Bytes in addition to the largest file: object ids while a pack is indexed, parsed trees, buffers.
const OVERHEAD: isize = 50 << 20;

/// Size limits of a deployed commit, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Largest file.
    pub file: u64,
    /// All files together.
    pub whole: u64,
}

static LIMIT: AtomicIsize = AtomicIsize::new(OVERHEAD * 3);
static ALLOCATED: AtomicIsize = AtomicIsize::new(0);
static REACHED: AtomicBool = AtomicBool::new(false);

/// Sets libgit2's memory limit so that it can read files of that many bytes.
pub fn allow_files_of(bytes: u64) {
    let bytes = isize::try_from(bytes).unwrap_or(isize::MAX);
    LIMIT.store(bytes.saturating_add(OVERHEAD), Relaxed);
}

/// Whether libgit2 reached the limit since the last call.
pub(super) fn reached() -> bool {
    REACHED.swap(false, Relaxed)
}

/// `git_allocator` of git2/sys/alloc.h.
#[repr(C)]
struct Allocator {
    malloc: unsafe extern "C" fn(usize, *const c_char, c_int) -> *mut c_void,
    realloc: unsafe extern "C" fn(*mut c_void, usize, *const c_char, c_int) -> *mut c_void,
    free: unsafe extern "C" fn(*mut c_void),
}

/// Sets libgit2's allocator, and limits its caches and memory maps.
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
    // SAFETY: libgit2 copies the structure, which has the layout of its own. Earlier blocks come from the same
    // malloc(3).
    unsafe {
        if libgit2_sys::git_libgit2_opts(option, &raw const allocator) != 0 {
            return Err(Error::from_str("libgit2 rejected the allocator"));
        }
        git2::opts::set_cache_max_size(8 << 20)?;
        git2::opts::set_mwindow_size(4 << 20)?;
        git2::opts::set_mwindow_mapped_limit(16 << 20)
    }
}

/// Whether that many more bytes are within the limit.
fn fits(more: usize) -> bool {
    let allocated = ALLOCATED.load(Relaxed);
    let fits = isize::try_from(more)
        .is_ok_and(|more| allocated.saturating_add(more) <= LIMIT.load(Relaxed));
    if !fits {
        REACHED.store(true, Relaxed);
    }
    fits
}

/// # Safety
/// As malloc(3).
#[expect(unsafe_code, reason = "called from C")]
unsafe extern "C" fn malloc(size: usize, file: *const c_char, line: c_int) -> *mut c_void {
    // SAFETY: a null pointer means a new block.
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
    // SAFETY: malloc_usable_size(3) accepts null and blocks of malloc(3), and all blocks of libgit2 are such. If
    // realloc(3) fails, it does not change the old block; with size 0 it would free it.
    unsafe {
        let before = libc::malloc_usable_size(block);
        if !fits(size.saturating_sub(before)) {
            return ptr::null_mut();
        }
        let new = libc::realloc(block, size.max(1));
        if !new.is_null() {
            let after = libc::malloc_usable_size(new);
            ALLOCATED.fetch_add(after.cast_signed() - before.cast_signed(), Relaxed);
        }
        new
    }
}

/// # Safety
/// As free(3).
#[expect(unsafe_code, reason = "called from C")]
unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: libgit2 frees only blocks of this allocator, or of malloc(3) before.
    unsafe {
        ALLOCATED.fetch_sub(libc::malloc_usable_size(block).cast_signed(), Relaxed);
        libc::free(block);
    }
}
