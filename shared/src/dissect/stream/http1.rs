//! HTTP/1 messages in a stream: heads, bodies, chunks.

use std::collections::VecDeque;

use super::{
    Found,
    machine::{Front, MAX_PENDING, Machine, Step},
    recognise::Recognise,
};
use crate::dissect::{
    Protocol,
    http1::{Framing, Head, Recognised, Start, chunk_size, recognise},
};

/// Requests without a response that are remembered.
const MOST_REQUESTS: usize = 256;

/// The longest line in front of a chunk, in bytes.
const MAX_CHUNK_LINE: usize = 1_024;

/// The longest method that is remembered, in bytes.
const MAX_METHOD: usize = 32;

/// What both directions know.
#[derive(Debug, Default)]
pub(super) struct HttpShared {
    /// The methods of requests that have no response yet.
    requests: VecDeque<Vec<u8>>,
    /// What the connection speaks since the server agreed to another protocol.
    switched: Option<Switched>,
}

impl HttpShared {
    /// What is kept, in bytes.
    pub(super) fn held(&self) -> usize {
        self.requests.len() * (size_of::<Vec<u8>>() + MAX_METHOD)
    }
}

/// What follows HTTP/1 on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Switched {
    WebSocket,
    /// Whatever its first bytes tell.
    Other,
}

impl Switched {
    fn machine(self) -> Machine {
        match self {
            Self::WebSocket => Machine::WebSocket(Box::default()),
            Self::Other => Machine::Recognise(Recognise),
        }
    }
}

/// The messages of one direction.
#[derive(Debug, Default)]
pub(super) struct Http1 {
    state: State,
    /// Chunks of the body so far, and their bytes.
    chunks: (u64, u64),
}

#[derive(Debug, Default)]
enum State {
    /// At a head.
    #[default]
    Head,
    /// At a head of which so many bytes were searched for its end. Whether its first line was
    /// recognised already: once it is, it stays so, and need not be looked at again.
    HeadSearched { searched: usize, recognised: bool },
    /// Behind a request for another protocol, to which the server has not said anything.
    Asked(Switched),
    /// In a body of known length, or in a chunk.
    Body {
        start: u64,
        length: u64,
        left: u64,
        chunk: bool,
    },
    /// At the line in front of a chunk.
    ChunkLine,
    /// At the end of the line behind a chunk.
    ChunkEnd { start: u64, length: u64 },
    /// Behind the last chunk, at a line of which so many bytes were searched for its end.
    Trailers { start: u64, searched: usize },
    /// In a body that ends with the connection.
    UntilClose { start: u64 },
}

impl Http1 {
    pub(super) fn step(
        &mut self,
        front: &Front<'_>,
        shared: &mut HttpShared,
        out: &mut Vec<Found>,
    ) -> Step {
        match self.state {
            State::Head => self.head(front, (0, false), shared, out),
            State::HeadSearched {
                searched,
                recognised,
            } => self.head(front, (searched, recognised), shared, out),
            State::Asked(asked) => Self::asked(front, asked, shared),
            State::Body { left, .. } => {
                let took = usize::try_from(left)
                    .unwrap_or(usize::MAX)
                    .min(front.bytes.len());
                self.body(took as u64, front.at + took as u64, out);
                Step::Took(took)
            }
            State::ChunkLine => self.chunk_line(front),
            State::ChunkEnd { start, length } => {
                let end = match front.bytes {
                    [b'\r', b'\n', ..] => 2,
                    [b'\n', ..] => 1,
                    [b'\r'] => return Step::Need(2),
                    _ => return Step::Lost("a chunk that is longer than its size"),
                };
                let text = format!("chunk {length} B");
                out.push(found(text, start, front.at + end as u64));
                self.chunks.0 += 1;
                self.chunks.1 = self.chunks.1.saturating_add(length);
                self.state = State::ChunkLine;
                Step::Took(end)
            }
            State::Trailers { start, searched } => self.trailers(front, start, searched, out),
            State::UntilClose { .. } => Step::Took(front.bytes.len()),
        }
    }

    fn head(
        &mut self,
        front: &Front<'_>,
        (searched, recognised): (usize, bool),
        shared: &mut HttpShared,
        out: &mut Vec<Found>,
    ) -> Step {
        let bytes = front.bytes;
        match bytes {
            [b'\r', b'\n', ..] => return Step::Took(2),
            [b'\r'] => return Step::Need(2),
            _ => {}
        }
        // The empty line may have begun in what was searched.
        if Head::end(bytes, searched.saturating_sub(2)).is_none() {
            let recognised = match recognised {
                true => Recognised::Yes,
                false => recognise(bytes),
            };
            if recognised == Recognised::No {
                return Step::Lost("no request and no response");
            }
            if bytes.len() >= MAX_PENDING {
                return Step::Lost("a head too long to be kept");
            }
            self.state = State::HeadSearched {
                searched: bytes.len(),
                recognised: recognised == Recognised::Yes,
            };
            return Step::Need(bytes.len() + 1);
        }
        let Ok(head) = Head::parse(bytes) else {
            return Step::Lost("no request and no response");
        };
        let end = front.at + head.length as u64;
        let mut message = found(head.summary(), front.at, end).fields(head.details());
        message.bare = true;
        out.push(message);
        self.state = match head.start {
            Start::Request { method, .. } => {
                if shared.requests.len() == MOST_REQUESTS {
                    shared.requests.pop_front();
                }
                let method = method.get(..MAX_METHOD).unwrap_or(method);
                shared.requests.push_back(method.to_vec());
                request(&head, method, end)
            }
            Start::Status { code, .. } => {
                // Whatever comes before the final response answers the same request.
                let is_final = code == 101 || !(100..200).contains(&code);
                let method = match is_final {
                    true => shared.requests.pop_front(),
                    false => None,
                };
                match Framing::of(&head, method.as_deref()) {
                    Framing::Switched => {
                        let switched = match code == 101 && head.lists("upgrade", "websocket") {
                            true => Switched::WebSocket,
                            false => Switched::Other,
                        };
                        shared.switched = Some(switched);
                        State::Asked(switched)
                    }
                    framing => after(framing, end),
                }
            }
        };
        self.chunks = (0, 0);
        Step::Took(head.length)
    }

    /// Behind the request for another protocol, or the response that agrees to it.
    fn asked(front: &Front<'_>, asked: Switched, shared: &HttpShared) -> Step {
        if let Some(switched) = shared.switched {
            return Step::Become(switched.machine());
        }
        match recognise(front.bytes) {
            // The server said no, or the client does not wait for what it says.
            Recognised::Yes => Step::Become(Machine::Http1(Box::default())),
            Recognised::Undecided => Step::Need(front.bytes.len() + 1),
            Recognised::No => Step::Become(asked.machine()),
        }
    }

    /// Passes over bytes of a body.
    fn body(&mut self, took: u64, at: u64, out: &mut Vec<Found>) {
        let State::Body {
            start,
            length,
            left,
            chunk,
        } = &mut self.state
        else {
            return;
        };
        *left -= took;
        if *left > 0 {
            return;
        }
        let (start, length) = (*start, *length);
        self.state = match chunk {
            true => State::ChunkEnd { start, length },
            false => {
                out.push(found(format!("body {length} B"), start, at));
                State::Head
            }
        };
    }

    fn chunk_line(&mut self, front: &Front<'_>) -> Step {
        let Some(end) = front.bytes.iter().position(|&byte| byte == b'\n') else {
            return match front.bytes.len() {
                MAX_CHUNK_LINE.. => Step::Lost("a chunk's line too long"),
                length => Step::Need(length + 1),
            };
        };
        let Some(length) = front.bytes.get(..end).and_then(chunk_size) else {
            return Step::Lost("no size of a chunk");
        };
        self.state = match length {
            0 => State::Trailers {
                start: front.at,
                searched: 0,
            },
            _ => State::Body {
                start: front.at,
                length,
                left: length,
                chunk: true,
            },
        };
        Step::Took(end + 1)
    }

    fn trailers(
        &mut self,
        front: &Front<'_>,
        start: u64,
        searched: usize,
        out: &mut Vec<Found>,
    ) -> Step {
        let rest = front.bytes.get(searched..).unwrap_or_default();
        let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
            let length = front.bytes.len();
            if length >= MAX_PENDING {
                return Step::Lost("a trailer too long to be kept");
            }
            self.state = State::Trailers {
                start,
                searched: length,
            };
            return Step::Need(length + 1);
        };
        let end = searched + end;
        self.state = State::Trailers { start, searched: 0 };
        if matches!(front.bytes, [b'\n', ..] | [b'\r', b'\n', ..]) {
            let (count, bytes) = self.chunks;
            let chunks = if count == 1 { "chunk" } else { "chunks" };
            let text = format!("last chunk (body {bytes} B in {count} {chunks})");
            out.push(found(text, start, front.at + end as u64 + 1));
            self.state = State::Head;
        }
        Step::Took(end + 1)
    }

    pub(super) fn pass_over(&mut self, length: u64) -> bool {
        match &mut self.state {
            State::Body { left, .. } if *left > length => {
                *left -= length;
                true
            }
            State::UntilClose { .. } => true,
            _ => {
                self.state = State::Head;
                false
            }
        }
    }

    pub(super) fn finish(&mut self, at: u64) -> Option<Found> {
        match std::mem::take(&mut self.state) {
            State::UntilClose { start } if at > start => {
                let text = format!("body {} B (until the end)", at - start);
                Some(found(text, start, at))
            }
            State::Body {
                start,
                length,
                left,
                ..
            } => {
                let text = format!("body cut off: {} of {length} B", length - left);
                Some(found(text, start, at))
            }
            State::ChunkLine | State::ChunkEnd { .. } | State::Trailers { .. } => {
                Some(found("body cut off between chunks".to_owned(), at, at))
            }
            _ => None,
        }
    }
}

fn found(text: String, start: u64, end: u64) -> Found {
    Found::new(Protocol::Http1, text, start, end)
}

/// What follows a request's head.
fn request(head: &Head<'_>, method: &[u8], end: u64) -> State {
    let framing = Framing::of(head, None);
    if framing != Framing::Length(0) {
        return after(framing, end);
    }
    if head.lists("upgrade", "websocket") {
        return State::Asked(Switched::WebSocket);
    }
    if method == b"CONNECT" || head.values("upgrade").next().is_some() {
        return State::Asked(Switched::Other);
    }
    State::Head
}

/// What follows a head whose body is framed like this.
const fn after(framing: Framing, start: u64) -> State {
    match framing {
        Framing::Length(0) => State::Head,
        Framing::Length(length) => State::Body {
            start,
            length,
            left: length,
            chunk: false,
        },
        Framing::Chunked => State::ChunkLine,
        Framing::UntilClose | Framing::Unknown | Framing::Switched => State::UntilClose { start },
    }
}
