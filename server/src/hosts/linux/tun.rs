//! A TUN device: the host's kernel routes IP packets into it, and this end reads and writes them.

// TUNSETIFF has no safe wrapper.
#![allow(unsafe_code)]

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
};

/// Where TUN devices come from.
const CLONE_DEVICE: &str = "/dev/net/tun";

/// This end of a TUN device. The device goes when it is dropped.
#[derive(Debug)]
pub struct Tun(File);

impl Tun {
    /// Makes a TUN device of that name in the calling thread's network namespace.
    ///
    /// # Errors
    /// What `open("/dev/net/tun")` or `TUNSETIFF` returned.
    pub fn create(name: &str) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(CLONE_DEVICE)
            .map_err(|error| {
                io::Error::new(error.kind(), format!("open {CLONE_DEVICE}: {error}"))
            })?;
        // SAFETY: an all-zero ifreq is valid: it is a C structure of integers and arrays.
        let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
        let room = request.ifr_name.len() - 1;
        for (slot, byte) in request.ifr_name.iter_mut().take(room).zip(name.bytes()) {
            *slot = byte.cast_signed();
        }
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: the descriptor is open, and TUNSETIFF reads and writes one ifreq, which lives
        // until after the call.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &mut request) };
        if result < 0 {
            let error = io::Error::last_os_error();
            return Err(io::Error::new(error.kind(), format!("TUNSETIFF: {error}")));
        }
        Ok(Self(file))
    }

    /// Reads one packet; `WouldBlock` where none waits.
    ///
    /// # Errors
    /// What `read(2)` returned.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.0).read(buffer)
    }

    /// Hands one packet to the host's kernel. When this returns, the kernel has processed it.
    ///
    /// # Errors
    /// What `write(2)` returned.
    pub fn send(&self, packet: &[u8]) -> io::Result<()> {
        (&self.0).write(packet).map(|_| ())
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
