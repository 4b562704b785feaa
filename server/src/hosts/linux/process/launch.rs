//! Starts a program so that it cannot outlive its run, and finds the hosts by their names.
//!
//! ```text
//! thread of the process (on the host; lives as long as the program)
//!   `- init: the first process of a process namespace of its own
//!        `- the program, in a session of its own, and whatever it starts
//! ```
//!
//! The kernel kills every process of such a namespace when its init dies (pid_namespaces(7)), and
//! kills init when the thread that made it dies (PR_SET_PDEATHSIG): so a SIGKILL of Linger itself,
//! the worst that can happen, ends all of them, however they may have been detached. init does
//! nothing but wait, and tells how the program ended. The program is not the first process itself,
//! because that one does not die of the signals that it does not handle.
//!
//! Between fork and exec only system calls are made: another thread of Linger may hold any lock.

// fork(2), pre_exec and raw descriptors have no safe form.
#![allow(unsafe_code)]

use std::{
    ffi::CStr,
    io,
    net::Ipv4Addr,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::{Child, Command, Stdio},
};

use nix::{
    cmsg_space,
    sched::{CloneFlags, unshare},
    sys::socket::{
        AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, setsockopt,
        socketpair, sockopt::PassCred,
    },
    unistd::Pid,
};

use crate::hosts::Launch;

/// A program that was started.
pub(super) struct Launched {
    /// The init of its process namespace.
    pub(super) init: Child,
    /// The program itself, as the original namespace counts.
    pub(super) program: Pid,
    /// Where init tells how the program ended; ends when init has.
    pub(super) line: OwnedFd,
}

/// A program could not be started: what was tried, and what happened.
#[derive(Debug)]
pub(super) struct NotLaunched {
    pub(super) operation: &'static str,
    pub(super) source: io::Error,
}

/// What is done between fork and exec, in order. What fails is told by its number.
#[repr(u8)]
#[derive(Debug, Clone, Copy)]
enum Step {
    Session = 1,
    Leash,
    Mounts,
    Names,
    Fork,
}

impl Step {
    const fn operation(number: u8) -> &'static str {
        match number {
            1 => "give it a session of its own",
            2 => "tie it to this process",
            3 => "give it mounts of its own",
            4 => "have it resolve the hosts' names (bind a file over /etc/hosts)",
            5 => "fork it from its init",
            _ => "start it",
        }
    }
}

/// First bytes of what comes over the line.
const HERE: u8 = b'h';
const FAILED: u8 = b'f';
const ENDED: u8 = b'e';

/// Starts a program on the host of the calling thread, which must be one of its own: a thread that
/// has called this cannot start other threads any more, and the program dies with it.
pub(super) fn launch(plan: &Launch) -> Result<Launched, NotLaunched> {
    let fail = |operation| move |source| NotLaunched { operation, source };
    let (near, far) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
    .map_err(io::Error::from)
    .map_err(fail("make a line to it"))?;
    setsockopt(&near, PassCred, &true)
        .map_err(io::Error::from)
        .map_err(fail("make a line to it"))?;
    unshare(CloneFlags::CLONE_NEWPID)
        .map_err(io::Error::from)
        .map_err(fail("give it a process namespace of its own"))?;
    let mut command = Command::new(&plan.program);
    command
        .args(&plan.arguments)
        .envs(plan.environment.iter().map(|(name, value)| (name, value)))
        .stdin(if plan.reads_stdin {
            Stdio::inherit()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let (near_raw, far_raw) = (near.as_raw_fd(), far.as_raw_fd());
    let files = Files::new(&plan.names);
    // SAFETY: the closure runs between fork and exec and makes nothing but system calls on memory
    // that was prepared before; the descriptors that it uses are open then.
    unsafe {
        command.pre_exec(move || become_program(near_raw, far_raw, &files));
    }
    let spawned = command.spawn();
    drop(far);
    match spawned {
        Ok(init) => match read(&near) {
            Ok(Told::Here(program)) => Ok(Launched {
                init,
                program,
                line: near,
            }),
            Ok(_) | Err(_) => {
                let mut init = init;
                let _ = init.kill();
                let _ = init.wait();
                Err(fail("start it")(io::Error::other(
                    "it ended before it began",
                )))
            }
        },
        Err(source) => {
            // Before exec itself fails, the program has told that it is there.
            let mut operation = Step::operation(0);
            while let Ok(told) = read(&near) {
                match told {
                    Told::Failed(step) => operation = Step::operation(step),
                    Told::Here(_) => {}
                    Told::Ended(_) | Told::Nothing => break,
                }
            }
            Err(NotLaunched { operation, source })
        }
    }
}

/// What comes over the line.
pub(super) enum Told {
    /// The program is there, and will be executed.
    Here(Pid),
    /// A step before that failed.
    Failed(u8),
    /// The program ended with this wait status.
    Ended(i32),
    /// init has ended.
    Nothing,
}

/// Reads what init or the program tells; waits for it.
pub(super) fn read(line: &OwnedFd) -> io::Result<Told> {
    let mut bytes = [0; 8];
    let mut space = cmsg_space!(libc::ucred);
    let mut vectors = [io::IoSliceMut::new(&mut bytes)];
    let (length, sender) = loop {
        match recvmsg::<()>(
            line.as_raw_fd(),
            &mut vectors,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
            Ok(message) => {
                let sender = message.cmsgs()?.find_map(|control| match control {
                    ControlMessageOwned::ScmCredentials(sender) => Some(sender.pid()),
                    _ => None,
                });
                break (message.bytes, sender);
            }
        }
    };
    Ok(match (&bytes[..length], sender) {
        ([HERE], Some(pid)) => Told::Here(Pid::from_raw(pid)),
        ([FAILED, step], _) => Told::Failed(*step),
        ([ENDED, a, b, c, d], _) => Told::Ended(i32::from_ne_bytes([*a, *b, *c, *d])),
        _ => Told::Nothing,
    })
}

/// The files that decide how names resolve, and where they go.
struct Files {
    hosts: Vec<u8>,
}

/// Nobody outside is asked for a name: the hosts have no way there.
const NSSWITCH: &[u8] = b"passwd: files\ngroup: files\nshadow: files\nhosts: files\n\
    networks: files\nprotocols: files\nservices: files\nethers: files\nrpc: files\n";

/// Who asks a name server all the same is refused at once, on the host itself.
const RESOLV: &[u8] = b"nameserver 127.0.0.1\noptions timeout:1 attempts:1\n";

impl Files {
    fn new(names: &[(String, Ipv4Addr)]) -> Self {
        let mut hosts = "127.0.0.1 localhost\n".to_owned();
        for (name, address) in names {
            hosts.push_str(&format!("{address} {name}\n"));
        }
        Self {
            hosts: hosts.into_bytes(),
        }
    }
}

/// Runs in the child: returns in the program, and never in init.
fn become_program(near: RawFd, line: RawFd, files: &Files) -> io::Result<()> {
    let failed = |step: Step| {
        let error = io::Error::last_os_error();
        tell(line, &[FAILED, step as u8]);
        Err(error)
    };
    // SAFETY: system calls on this process and on descriptors that are open; `poll` gets one
    // initialised pollfd.
    let leashed = unsafe {
        libc::close(near);
        if libc::setsid() < 0 {
            return failed(Step::Session);
        }
        let leashed = libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0;
        // The thread may have died before that: then nobody holds the other end of the line.
        let mut end = libc::pollfd {
            fd: line,
            events: 0,
            revents: 0,
        };
        if libc::poll(&mut end, 1, 0) > 0 {
            libc::_exit(1);
        }
        leashed
    };
    if !leashed {
        return failed(Step::Leash);
    }
    // SAFETY: plain system calls, as above.
    if unsafe { libc::unshare(libc::CLONE_NEWNS) } < 0
        || mount(c"none", c"/", c"", libc::MS_REC | libc::MS_PRIVATE) < 0
    {
        return failed(Step::Mounts);
    }
    if !resolve_names(files) {
        return failed(Step::Names);
    }
    // What programs read of themselves below /proc is numbered as in their own namespace; where that
    // cannot be mounted, most do without.
    let _ = mount(c"proc", c"/proc", c"proc", 0);
    // SAFETY: the child goes on with exec, and the parent with system calls alone.
    match unsafe { libc::fork() } {
        -1 => failed(Step::Fork),
        0 => {
            // SAFETY: a plain system call.
            unsafe { libc::setsid() };
            tell(line, &[HERE]);
            Ok(())
        }
        program => wait_for(program, line),
    }
}

/// init's work: waits for whatever dies, and ends with the program.
fn wait_for(program: libc::pid_t, line: RawFd) -> ! {
    // SAFETY: system calls alone. What Linger had open is none of init's business: it would hold
    // the program's output, and others', open.
    unsafe {
        close_all_but(line);
        loop {
            let mut status = 0;
            let ended = libc::waitpid(-1, &mut status, 0);
            if ended == program {
                let [a, b, c, d] = status.to_ne_bytes();
                tell(line, &[ENDED, a, b, c, d]);
                libc::_exit(0);
            }
            if ended < 0 && *libc::__errno_location() != libc::EINTR {
                libc::_exit(1);
            }
        }
    }
}

/// Closes every descriptor but one.
fn close_all_but(kept: RawFd) {
    let range = |first: libc::c_uint, last: libc::c_uint| {
        // SAFETY: nothing uses the descriptors of this process any more.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
    };
    let kept = kept.unsigned_abs();
    if range(kept + 1, libc::c_uint::MAX) {
        if kept > 0 {
            range(0, kept - 1);
        }
        return;
    }
    // Before Linux 5.9.
    for descriptor in (0..65_536).filter(|descriptor| *descriptor != kept.cast_signed()) {
        // SAFETY: as above.
        unsafe { libc::close(descriptor) };
    }
}

/// Puts files of our own in the place of those that say how names resolve; false where the hosts'
/// names would not.
fn resolve_names(files: &Files) -> bool {
    // A place for files that no disk has and no other process sees. What is mounted from it
    // outlasts it.
    if mount(c"none", c"/proc", c"tmpfs", 0) < 0 {
        return false;
    }
    let resolves = put(c"/proc/hosts", &files.hosts, c"/etc/hosts");
    // Some systems have none of these, and need none.
    put(c"/proc/nsswitch", NSSWITCH, c"/etc/nsswitch.conf");
    put(c"/proc/resolv", RESOLV, c"/etc/resolv.conf");
    // A cache of names answers without looking at any file.
    let _ = mount(c"none", c"/var/run/nscd", c"tmpfs", 0);
    // SAFETY: a plain system call with a terminated string.
    unsafe { libc::umount2(c"/proc".as_ptr(), libc::MNT_DETACH) };
    resolves
}

fn put(file: &CStr, content: &[u8], over: &CStr) -> bool {
    // SAFETY: the strings are terminated, and the content is as long as is said.
    unsafe {
        let descriptor = libc::open(
            file.as_ptr(),
            libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC,
            0o644,
        );
        if descriptor < 0 {
            return false;
        }
        libc::fchmod(descriptor, 0o644);
        let written = libc::write(descriptor, content.as_ptr().cast(), content.len());
        libc::close(descriptor);
        written == content.len().cast_signed() && mount(file, over, c"", libc::MS_BIND) == 0
    }
}

fn mount(source: &CStr, target: &CStr, kind: &CStr, flags: libc::c_ulong) -> libc::c_int {
    // SAFETY: every string is terminated; no option string is given.
    unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            kind.as_ptr(),
            flags,
            std::ptr::null(),
        )
    }
}

fn tell(line: RawFd, bytes: &[u8]) {
    // SAFETY: the buffer is as long as is said. Who listens may be gone.
    unsafe { libc::send(line, bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
}
