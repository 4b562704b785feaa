//! The right to make network namespaces: CAP_NET_ADMIN and CAP_SYS_ADMIN, or a user namespace of one's own.

use std::{fs, io, sync::OnceLock};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::{getgid, getuid},
};

/// CAP_NET_ADMIN and CAP_SYS_ADMIN in the capability sets (linux/capability.h).
const NEEDED: u64 = 1 << 12 | 1 << 21;

/// How the process came by its rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Privilege {
    /// It had CAP_NET_ADMIN and CAP_SYS_ADMIN from the start.
    Root,
    /// It entered a user namespace, in which it has every capability.
    UserNamespace,
    /// It has none; the text says what was tried and what happened.
    None(String),
}

static PRIVILEGE: OnceLock<Privilege> = OnceLock::new();

/// How the process came by its rights; [`prepare_process`] finds out.
pub fn privilege() -> &'static Privilege {
    PRIVILEGE.get_or_init(|| {
        if has_rights() {
            Privilege::Root
        } else {
            Privilege::None("no user namespace was entered at the process's start".to_owned())
        }
    })
}

pub(crate) fn prepare_process() {
    PRIVILEGE.get_or_init(|| {
        if has_rights() {
            return Privilege::Root;
        }
        match enter_user_namespace() {
            Ok(()) => Privilege::UserNamespace,
            Err(error) => Privilege::None(error),
        }
    });
}

fn has_rights() -> bool {
    fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("CapEff:"))?;
            u64::from_str_radix(line.trim(), 16).ok()
        })
        .is_some_and(|capabilities| capabilities & NEEDED == NEEDED)
}

/// Enters a user namespace in which the caller is root (user_namespaces(7)).
fn enter_user_namespace() -> Result<(), String> {
    let (uid, gid) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER)
        .map_err(|errno| format!("unshare(CLONE_NEWUSER) failed with {errno:?}"))?;
    let write = |file: &str, text: String| {
        fs::write(format!("/proc/self/{file}"), text)
            .map_err(|error: io::Error| format!("/proc/self/{file} could not be written: {error}"))
    };
    // A process without rights outside may map its group only after giving up setgroups(2).
    write("setgroups", "deny".to_owned())?;
    write("uid_map", format!("0 {uid} 1"))?;
    write("gid_map", format!("0 {gid} 1"))
}
