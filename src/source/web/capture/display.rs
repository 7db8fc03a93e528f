//! A connection to a display that says when something was drawn. Nothing here blocks without a
//! deadline.

use std::io::PipeReader;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use x11rb::connection::{Connection, RequestConnection};
use x11rb::protocol::Event;
use x11rb::protocol::damage::{self, ConnectionExt as _};
use x11rb::protocol::xfixes::ConnectionExt as _;
use x11rb::protocol::xproto::{
    CLIENT_MESSAGE_EVENT, ClientMessageData, ClientMessageEvent, ConnectionExt as _, CreateWindowAux,
    EventMask, Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;

use super::CaptureError;
use crate::source::web::display::connect;

/// A connection with DAMAGE on the root window.
pub(super) struct Display {
    name: String,
    connection: RustConnection,
    /// A window of our own, never shown: an event sent to it comes back to us, after all that
    /// happened before.
    mailbox: Window,
    asked: u32,
    /// Of the screen that is watched, from the upper left.
    width: u32,
    height: u32,
}

/// Why a wait was over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Woken {
    /// There may be something to read.
    Ready,
    Deadline,
    /// The capture is to stop.
    Stopped,
}

/// A message of the display.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Said {
    /// Something was drawn inside of the watched area.
    Drawn,
    /// Everything that the display did before question number `n` has been said.
    Answered(u32),
}

impl Display {
    /// Connects and asks for an event at each drawing.
    pub(super) fn open(name: &str, width: u32, height: u32) -> Result<Self, CaptureError> {
        let broken = |what: String| CaptureError::Display { display: name.to_owned(), what };
        let (connection, screen) =
            connect(name).map_err(|source| CaptureError::Connect { display: name.to_owned(), source })?;
        if connection
            .extension_information(damage::X11_EXTENSION_NAME)
            .map_err(|error| broken(error.to_string()))?
            .is_none()
        {
            return Err(CaptureError::NoDamage { display: name.to_owned() });
        }
        let root =
            connection.setup().roots.get(screen).ok_or_else(|| broken("it has no screen".to_owned()))?.root;
        let set_up = || -> Result<Window, x11rb::errors::ReplyOrIdError> {
            connection.damage_query_version(1, 1)?.reply()?;
            // The pointer is drawn into the framebuffer. It is hidden as long as we are connected.
            connection.xfixes_query_version(4, 0)?.reply()?;
            connection.xfixes_hide_cursor(root)?.check()?;
            let mailbox = connection.generate_id()?;
            let aux = CreateWindowAux::new().override_redirect(1);
            let (depth, visual) = (0, x11rb::COPY_FROM_PARENT);
            let class = WindowClass::INPUT_ONLY;
            connection.create_window(depth, mailbox, root, -2, -2, 1, 1, 0, class, visual, &aux)?.check()?;
            let watch = connection.generate_id()?;
            // Raw rectangles: every drawing is an event. All other levels stay silent about an area
            // until the damage is subtracted, which costs one more request per frame.
            connection.damage_create(watch, root, damage::ReportLevel::RAW_RECTANGLES)?.check()?;
            Ok(mailbox)
        };
        let mailbox = set_up().map_err(|error| broken(error.to_string()))?;
        Ok(Self { name: name.to_owned(), connection, mailbox, asked: 0, width, height })
    }

    /// Asks a question whose answer comes after all that was drawn until now. Gives its number.
    pub(super) fn ask(&mut self) -> Result<u32, CaptureError> {
        self.asked = self.asked.wrapping_add(1);
        let event = ClientMessageEvent {
            response_type: CLIENT_MESSAGE_EVENT,
            format: 32,
            sequence: 0,
            window: self.mailbox,
            type_: u32::from(x11rb::protocol::xproto::AtomEnum::INTEGER),
            data: ClientMessageData::from([self.asked, 0, 0, 0, 0]),
        };
        let sent = self.connection.send_event(false, self.mailbox, EventMask::NO_EVENT, event).map(drop);
        sent.and_then(|()| self.connection.flush()).map_err(|error| self.broken(error))?;
        Ok(self.asked)
    }

    /// The next thing that the display has said; `None` when there is nothing more for now.
    pub(super) fn next(&self) -> Result<Option<Said>, CaptureError> {
        loop {
            match self.connection.poll_for_event().map_err(|error| self.broken(error))? {
                None => return Ok(None),
                Some(Event::DamageNotify(event)) => {
                    let inside = |at: i16, edge: u32| u32::try_from(at).map_or(true, |at| at < edge);
                    if inside(event.area.x, self.width) && inside(event.area.y, self.height) {
                        return Ok(Some(Said::Drawn));
                    }
                }
                Some(Event::ClientMessage(event)) if event.window == self.mailbox => {
                    let [number, ..] = event.data.as_data32();
                    return Ok(Some(Said::Answered(number)));
                }
                Some(Event::Error(error)) => return Err(self.broken(format!("{error:?}"))),
                Some(_) => {}
            }
        }
    }

    /// Waits until the display may have said something, at most `within`, or until the other end of
    /// `stop` is closed.
    pub(super) fn wait(&self, stop: &PipeReader, within: Option<Duration>) -> Result<Woken, CaptureError> {
        let mut fds = [
            PollFd::new(stop.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.connection.stream().as_fd(), PollFlags::POLLIN),
        ];
        match ppoll(&mut fds, within.map(Into::into), None) {
            // Whoever asked looks at the clock, and waits again.
            Err(nix::errno::Errno::EINTR) => Ok(Woken::Ready),
            Err(error) => Err(self.broken(error)),
            Ok(0) => Ok(Woken::Deadline),
            Ok(_) if fds[0].any().unwrap_or(true) => Ok(Woken::Stopped),
            Ok(_) => Ok(Woken::Ready),
        }
    }

    /// The display keeps silent although it was asked.
    pub(super) fn silent(&self, within: Duration) -> CaptureError {
        self.broken(format!("no answer within {} s", within.as_secs()))
    }

    fn broken(&self, what: impl ToString) -> CaptureError {
        CaptureError::Display { display: self.name.clone(), what: what.to_string() }
    }
}
