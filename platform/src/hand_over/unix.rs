//! Descriptors pass over a Unix socket that keeps packets whole.

use std::fs;
use std::io::{self, IoSlice, IoSliceMut, PipeReader, PipeWriter};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    self, AddressFamily, Backlog, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag,
    SockType, UnixAddr, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::geteuid;

use super::packet::{LONGEST, PER_PACKET, Packet};
use super::{HandOverError, MOST_LISTENERS, Passed, START, STEP};
use crate::socket::Listener;

/// Where a server waits for its successor. Dropped, it removes its file, if
/// that is still its own.
#[derive(Debug)]
pub struct Post {
    socket: OwnedFd,
    path: PathBuf,
    /// Device and number of the file, to know it by.
    file: (u64, u64),
    bell: PipeReader,
}

/// Ends the wait at a [`Post`] when it is dropped, whatever step it is at.
#[derive(Debug)]
pub struct Bell(#[expect(dead_code, reason = "it rings when it is dropped")] PipeWriter);

/// A process that asked for the listeners.
#[derive(Debug)]
pub struct Successor(OwnedFd);

/// The process whose listeners were taken over.
#[derive(Debug)]
pub struct Predecessor(OwnedFd);

fn system(call: &'static str) -> impl Fn(Errno) -> HandOverError {
    move |errno| HandOverError::System {
        call,
        source: errno.into(),
    }
}

fn failed(call: &'static str) -> impl Fn(io::Error) -> HandOverError {
    move |source| HandOverError::System { call, source }
}

impl Post {
    /// Waits at `path`, in the place of a server that waits there no more.
    ///
    /// # Errors
    /// [`HandOverError::Taken`] when somebody waits there; those of the calls.
    pub fn open(path: &Path) -> Result<(Self, Bell), HandOverError> {
        if dial(path)?.is_some() {
            return Err(HandOverError::Taken { path: path.into() });
        }
        let socket = packets()?;
        // Before the bind, which makes the file with the socket's mode: nobody
        // else can connect to it for a moment.
        fchmod(&socket, Mode::from_bits_truncate(0o600)).map_err(system("fchmod"))?;
        // Bound elsewhere and moved, which replaces what a server that was
        // killed has left.
        let mut aside = path.as_os_str().to_owned();
        aside.push(format!(".{}", std::process::id()));
        let aside = PathBuf::from(aside);
        let addr = UnixAddr::new(&aside).map_err(system("naming the socket"))?;
        // A process of the same number that was killed right here.
        let _left = fs::remove_file(&aside);
        socket::bind(socket.as_raw_fd(), &addr).map_err(system("bind"))?;
        let placed = socket::listen(&socket, Backlog::MAXCONN)
            .map_err(system("listen"))
            .and_then(|()| identity(&aside).map_err(failed("stat")))
            .and_then(|file| {
                fs::rename(&aside, path).map_err(failed("rename"))?;
                Ok(file)
            });
        let file = placed.inspect_err(|_| {
            let _gone = fs::remove_file(&aside);
        })?;
        let (bell, ring) = io::pipe().map_err(failed("pipe"))?;
        let post = Self {
            socket,
            path: path.into(),
            file,
            bell,
        };
        Ok((post, Bell(ring)))
    }

    /// Waits for a process that asks; `None` when the [`Bell`] is gone.
    ///
    /// # Errors
    /// Whoever came is refused, and the next may be waited for.
    pub fn next(&self) -> Result<Option<Successor>, HandOverError> {
        if !wait(&self.socket, Some(&self.bell), None)? {
            return Ok(None);
        }
        let number = socket::accept4(self.socket.as_raw_fd(), SockFlag::SOCK_CLOEXEC);
        let successor = Successor(own(number.map_err(system("accept"))?));
        check_user(&successor.0)?;
        match receive(&successor.0, Some(&self.bell), STEP)? {
            Some((Packet::Take, _)) => Ok(Some(successor)),
            Some((other, _)) => Err(unexpected(&other)),
            None => Ok(None),
        }
    }
}

impl Post {
    /// Waits for a while; `false`: the [`Bell`] is gone.
    #[must_use]
    pub fn pause(&self, time: Duration) -> bool {
        let mut bell = [PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)];
        let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX);
        // Interrupted, it was a shorter while.
        !poll(&mut bell, time).is_ok_and(|rang| rang > 0)
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            let _gone = fs::remove_file(&self.path);
        }
    }
}

impl Successor {
    /// Gives it the listeners, which stay this process's too.
    ///
    /// # Errors
    /// It is gone, or there are too many.
    pub fn offer(&mut self, listeners: &[Passed]) -> Result<(), HandOverError> {
        if listeners.len() > MOST_LISTENERS {
            return Err(HandOverError::TooMany {
                count: listeners.len(),
            });
        }
        let mut left = listeners.len();
        for group in listeners.chunks(PER_PACKET) {
            left -= group.len();
            let fds: Vec<RawFd> = group
                .iter()
                .map(|passed| passed.listener.as_fd().as_raw_fd())
                .collect();
            let tls = group.iter().map(|passed| passed.tls).collect();
            send(&self.0, &Packet::Listeners { tls, left }, &fds)?;
        }
        Ok(())
    }

    /// Waits until it accepts from them.
    ///
    /// # Errors
    /// It does not: whoever offered goes on. [`HandOverError::Ended`] also when
    /// the [`Bell`] of `post` is gone.
    pub fn accepts(&mut self, post: &Post) -> Result<(), HandOverError> {
        match receive(&self.0, Some(&post.bell), START)? {
            Some((Packet::Accepting, _)) => Ok(()),
            Some((other, _)) => Err(unexpected(&other)),
            None => Err(HandOverError::Ended),
        }
    }

    /// Tells it that this process accepts no more.
    ///
    /// # Errors
    /// It is gone.
    pub fn draining(self) -> Result<(), HandOverError> {
        send(&self.0, &Packet::Draining, &[])
    }
}

impl Predecessor {
    /// Asks the server that waits at `path` for its listeners; `None` when
    /// nobody waits there.
    ///
    /// # Errors
    /// Somebody waits there, but does not hand over.
    pub fn ask(path: &Path) -> Result<Option<(Self, Vec<Passed>)>, HandOverError> {
        let Some(socket) = dial(path)? else {
            return Ok(None);
        };
        check_user(&socket)?;
        send(&socket, &Packet::Take, &[])?;
        let mut passed = Vec::new();
        loop {
            // Whoever came before has a step to speak up, and is refused then.
            let Some((packet, fds)) = receive(&socket, None, 2 * STEP)? else {
                return Err(HandOverError::Ended);
            };
            let Packet::Listeners { tls, left } = packet else {
                return Err(unexpected(&packet));
            };
            if passed.len() + tls.len() + left > MOST_LISTENERS {
                return Err(HandOverError::TooMany {
                    count: passed.len() + tls.len() + left,
                });
            }
            for (fd, tls) in fds.into_iter().zip(tls) {
                let listener = Listener::adopt(fd).map_err(failed("adopting a listener"))?;
                passed.push(Passed { listener, tls });
            }
            if left == 0 {
                return Ok(Some((Self(socket), passed)));
            }
        }
    }

    /// Tells it that this process accepts, and waits until it has heard so.
    ///
    /// # Errors
    /// It is gone, or says nothing: this process is on its own all the same.
    pub fn accepting(self) -> Result<(), HandOverError> {
        send(&self.0, &Packet::Accepting, &[])?;
        match receive(&self.0, None, STEP)? {
            Some((Packet::Draining, _)) => Ok(()),
            Some((other, _)) => Err(unexpected(&other)),
            None => Err(HandOverError::Ended),
        }
    }
}

fn packets() -> Result<OwnedFd, HandOverError> {
    socket::socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
    .map_err(system("socket"))
}

/// A connection to whoever waits at `path`; `None`: nobody.
fn dial(path: &Path) -> Result<Option<OwnedFd>, HandOverError> {
    let socket = packets()?;
    let addr = UnixAddr::new(path).map_err(system("naming the socket"))?;
    match socket::connect(socket.as_raw_fd(), &addr) {
        Ok(()) => Ok(Some(socket)),
        Err(Errno::ENOENT | Errno::ECONNREFUSED) => Ok(None),
        Err(errno) => Err(system("connect")(errno)),
    }
}

/// What tells a file from one that was put in its place.
fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}

fn check_user(socket: &OwnedFd) -> Result<(), HandOverError> {
    let peer = socket::getsockopt(socket, sockopt::PeerCredentials);
    let theirs = peer.map_err(system("SO_PEERCRED"))?.uid();
    let ours = geteuid().as_raw();
    if theirs == ours || theirs == 0 {
        Ok(())
    } else {
        Err(HandOverError::ForeignUser { theirs, ours })
    }
}

fn unexpected(packet: &Packet) -> HandOverError {
    HandOverError::Protocol {
        what: format!("{packet:?} at the wrong time"),
    }
}

/// Waits until `socket` can be read; `false`: the bell rang. `within`: `None`
/// is for ever.
fn wait(
    socket: &OwnedFd,
    bell: Option<&PipeReader>,
    within: Option<Duration>,
) -> Result<bool, HandOverError> {
    let until = within.map(|within| (Instant::now() + within, within));
    loop {
        let second = bell.map_or(socket.as_fd(), |bell| bell.as_fd());
        let mut fds = [
            PollFd::new(socket.as_fd(), PollFlags::POLLIN),
            PollFd::new(second, PollFlags::POLLIN),
        ];
        let timeout = until.map_or(PollTimeout::NONE, |(until, _)| {
            let left = until.saturating_duration_since(Instant::now());
            PollTimeout::try_from(left.as_millis() + 1).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut fds, timeout) {
            Ok(0) => {}
            Ok(_) => {
                return Ok(bell.is_none() || !fds[1].any().unwrap_or(true));
            }
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(system("poll")(errno)),
        }
        if let Some((until, waited)) = until
            && until <= Instant::now()
        {
            return Err(HandOverError::Silent { waited });
        }
    }
}

/// Sends at once or fails: the socket buffers more than is ever under way.
fn send(socket: &OwnedFd, packet: &Packet, fds: &[RawFd]) -> Result<(), HandOverError> {
    let text = packet.write();
    let rights = [ControlMessage::ScmRights(fds)];
    let rights = if fds.is_empty() { &[][..] } else { &rights };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    let bytes = [IoSlice::new(text.as_bytes())];
    match socket::sendmsg::<()>(socket.as_raw_fd(), &bytes, rights, flags, None) {
        Ok(_) => Ok(()),
        Err(Errno::EPIPE | Errno::ECONNRESET | Errno::ENOTCONN) => Err(HandOverError::Ended),
        Err(errno) => Err(system("sendmsg")(errno)),
    }
}

/// One packet and the descriptors that came with it, as many as it says;
/// `None`: the bell rang.
fn receive(
    socket: &OwnedFd,
    bell: Option<&PipeReader>,
    within: Duration,
) -> Result<Option<(Packet, Vec<OwnedFd>)>, HandOverError> {
    if !wait(socket, bell, Some(within))? {
        return Ok(None);
    }
    let mut bytes = [0; LONGEST];
    let mut control = cmsg_space!([RawFd; PER_PACKET]);
    let mut fds = Vec::new();
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let length = {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let message =
            socket::recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), flags)
                .map_err(|errno| match errno {
                    Errno::ECONNRESET => HandOverError::Ended,
                    errno => system("recvmsg")(errno),
                })?;
        let cut = message.flags.contains(MsgFlags::MSG_CTRUNC);
        for part in message.cmsgs().into_iter().flatten() {
            if let ControlMessageOwned::ScmRights(numbers) = part {
                fds.extend(numbers.into_iter().map(own));
            }
        }
        if cut {
            return Err(HandOverError::Protocol {
                what: "more descriptors than a packet may carry, or than this process may open"
                    .into(),
            });
        }
        message.bytes
    };
    if length == 0 {
        return Err(HandOverError::Ended);
    }
    let packet = Packet::read(&bytes[..length])?;
    let said = match &packet {
        Packet::Listeners { tls, .. } => tls.len(),
        Packet::Take | Packet::Accepting | Packet::Draining => 0,
    };
    if said != fds.len() {
        return Err(HandOverError::Protocol {
            what: format!("{said} listeners but {} descriptors", fds.len()),
        });
    }
    Ok(Some((packet, fds)))
}

/// Owns a descriptor that the kernel has just made for this process.
fn own(number: RawFd) -> OwnedFd {
    // SAFETY: `accept4` and `SCM_RIGHTS` make a descriptor that nobody else in
    // this process knows of; each number comes here once.
    unsafe { OwnedFd::from_raw_fd(number) }
}
