//! Paths that no app may use, decided by the path alone (hier(7), FHS 3.0).

use std::path::Path;

/// Closed trees: directories of the system or of other users, or hidden by the app's unit (`ProtectHome=`,
/// `PrivateTmp=`).
const CLOSED: [&str; 24] = [
    "/bin",
    "/boot",
    "/dev",
    "/efi",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/lost+found",
    "/opt/git_pollers",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/snap",
    "/sys",
    "/tmp",
    "/usr",
    "/var/lib/dpkg",
    "/var/lib/pullpray",
    "/var/lib/systemd",
    "/var",
];

/// Common parents: an app may use a directory below them, but not these themselves.
const COMMON: [&str; 12] = [
    "/",
    "/media",
    "/mnt",
    "/opt",
    "/srv",
    "/var/lib",
    "/var/local",
    "/var/opt",
    "/var/www",
    "/var/www/projects",
    "/www",
    "/www/static",
];

/// Exceptions below `/var`.
const OPEN: [&str; 4] = ["/var/lib", "/var/local", "/var/opt", "/var/www"];

/// The closed tree that contains the path.
#[must_use]
pub fn closed(path: &Path) -> Option<&'static str> {
    let open = OPEN.iter().any(|dir| path.starts_with(dir));
    CLOSED
        .into_iter()
        .find(|dir| path.starts_with(dir) && !(open && *dir == "/var"))
}

/// Why an app cannot use a path as a directory; `None` if it can.
#[must_use]
pub fn refused(path: &Path) -> Option<String> {
    let at = path.display();
    if let Some(dir) = closed(path) {
        return Some(if Path::new(dir) == path {
            format!("{at} is a system directory")
        } else {
            format!("{at} is below {dir}, which is reserved for the system")
        });
    }
    let common = COMMON.iter().any(|dir| path == Path::new(dir));
    common.then(|| format!("{at} is a common parent directory: choose a directory below it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_system_directories_and_accepts_directories_for_apps() {
        for path in [
            "/",
            "/etc",
            "/etc/x",
            "/usr/local/lib/x",
            "/var",
            "/var/log/x",
            "/var/lib",
            "/var/www",
            "/var/lib/pullpray/x",
            "/srv",
            "/opt/git_pollers/todo",
            "/home/ann/todo",
            "/lib64/x",
        ] {
            assert!(refused(Path::new(path)).is_some(), "{path}");
        }
        for path in [
            "/var/www/projects/todo",
            "/www/static/todo",
            "/srv/todo",
            "/opt/todo",
            "/data",
            "/var/lib/todo",
            "/library/todo",
            "/mnt/disk/todo",
        ] {
            assert_eq!(refused(Path::new(path)), None, "{path}");
        }
    }
}
