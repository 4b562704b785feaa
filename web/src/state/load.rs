//! Something that is fetched: not there yet, there, or refused; and why it was refused.

use linger_shared::protocol::Problem;

/// The three ways in which a request stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Load<T> {
    /// No answer so far.
    Waiting,
    /// The answer.
    Ready(T),
    /// None, and why.
    Failed(Trouble),
}

impl<T> Load<T> {
    /// The answer, where there is one.
    pub fn ready(&self) -> Option<&T> {
        match self {
            Self::Ready(value) => Some(value),
            Self::Waiting | Self::Failed(_) => None,
        }
    }
}

/// Why a request gave no answer, in words for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// The kind of trouble in a few words.
    pub title: String,
    /// What was tried, what happened, and what to do next.
    pub detail: String,
    /// The HTTP status; absent where the server was not reached at all.
    pub status: Option<u16>,
}

impl Trouble {
    /// The server was not reached.
    pub fn unreachable(what: &str) -> Self {
        Self {
            title: "The server does not answer".to_owned(),
            detail: format!(
                "{what} got no response. Is `linger serve` still running, and is this machine \
                 connected to it?"
            ),
            status: None,
        }
    }

    /// The server answered with an error: as a problem document where it sent one, else by its
    /// status alone.
    pub fn refused(what: &str, status: u16, body: &str) -> Self {
        match serde_json::from_str::<Problem>(body) {
            Ok(problem) => Self {
                title: problem.title,
                detail: problem.detail,
                status: Some(status),
            },
            Err(_) => Self {
                title: format!("The server answered {status}"),
                detail: format!("{what} was refused without a reason."),
                status: Some(status),
            },
        }
    }

    /// The answer was not what this page understands.
    pub fn unreadable(what: &str, error: &str) -> Self {
        Self {
            title: "The answer cannot be read".to_owned(),
            detail: format!(
                "{what} gave an answer that this page does not understand ({error}). Reload the \
                 page: it may be older than the server."
            ),
            status: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_document_speaks_for_itself() {
        let body = r#"{"type":"/problems/bounds","title":"A parameter is out of bounds",
            "status":422,"detail":"count=500 is more than the maximum of 127"}"#;
        let trouble = Trouble::refused("Starting a run", 422, body);
        assert_eq!(trouble.title, "A parameter is out of bounds");
        assert_eq!(trouble.detail, "count=500 is more than the maximum of 127");
        assert_eq!(trouble.status, Some(422));
    }

    #[test]
    fn an_answer_without_a_problem_names_what_was_tried() {
        let trouble = Trouble::refused("Starting a run", 502, "<html>");
        assert_eq!(trouble.title, "The server answered 502");
        assert!(trouble.detail.starts_with("Starting a run"));
    }
}
