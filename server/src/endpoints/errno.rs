//! The names of what calls return, as manual pages write them.

use std::io;

/// The errno's name of a failed call, such as `ETIMEDOUT`; the error's own words where the failure
/// is not a system call's.
pub fn errno_name(error: &io::Error) -> String {
    #[cfg(linger_packets)]
    if let Some(code) = error.raw_os_error() {
        let errno = nix::errno::Errno::from_raw(code);
        if errno != nix::errno::Errno::UnknownErrno {
            return format!("{errno:?}");
        }
    }
    // An application's own error may bear a kind too, but no kernel has returned it.
    if error.get_ref().is_some() {
        return error.to_string();
    }
    kind_name(error.kind()).map_or_else(|| error.to_string(), str::to_owned)
}

/// What the standard library's kinds stand for, where there are no numbers to look up.
fn kind_name(kind: io::ErrorKind) -> Option<&'static str> {
    use io::ErrorKind as Kind;
    Some(match kind {
        Kind::TimedOut => "ETIMEDOUT",
        Kind::ConnectionReset => "ECONNRESET",
        Kind::ConnectionRefused => "ECONNREFUSED",
        Kind::ConnectionAborted => "ECONNABORTED",
        Kind::BrokenPipe => "EPIPE",
        Kind::NotConnected => "ENOTCONN",
        Kind::AddrInUse => "EADDRINUSE",
        Kind::AddrNotAvailable => "EADDRNOTAVAIL",
        Kind::HostUnreachable => "EHOSTUNREACH",
        Kind::NetworkUnreachable => "ENETUNREACH",
        Kind::NetworkDown => "ENETDOWN",
        Kind::InvalidInput => "EINVAL",
        Kind::PermissionDenied => "EPERM",
        Kind::WouldBlock => "EAGAIN",
        Kind::Interrupted => "EINTR",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_named_as_manual_pages_name_them() {
        assert_eq!(
            errno_name(&io::Error::from(io::ErrorKind::TimedOut)),
            "ETIMEDOUT"
        );
        assert_eq!(
            errno_name(&io::Error::other("no such thing")),
            "no such thing"
        );
    }

    #[cfg(linger_packets)]
    #[test]
    fn numbers_without_a_kind_of_their_own_have_names_too() {
        for (code, name) in [
            (libc::EPROTO, "EPROTO"),
            (libc::ENOBUFS, "ENOBUFS"),
            (libc::ENOPROTOOPT, "ENOPROTOOPT"),
            (libc::ECONNRESET, "ECONNRESET"),
        ] {
            assert_eq!(errno_name(&io::Error::from_raw_os_error(code)), name);
        }
    }

    #[test]
    fn an_applications_own_time_out_is_not_the_kernels() {
        let own = io::Error::new(io::ErrorKind::TimedOut, "gave up after 3 s");
        assert_eq!(errno_name(&own), "gave up after 3 s");
    }
}
