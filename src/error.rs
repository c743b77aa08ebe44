//! What can go wrong, as far as the caller can act on it.

/// An error with the class that JavaScript gives it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The caller's input; found before Redis is touched.
    #[error("{0}")]
    Args(String),
    /// Redis could not be reached within the time allowed.
    #[error("{0}")]
    Connection(String),
    /// Redis answered, and refused: out of memory, no permission, a key of another type.
    #[error("{0}")]
    Refused(String),
    /// The client or worker has been closed.
    #[error("{0}")]
    Closed(String),
}

impl Error {
    /// The stable code under which JavaScript knows this class.
    pub fn code(&self) -> &'static str {
        match self {
            Error::Args(_) => "ERR_ARGS",
            Error::Connection(_) => "ERR_CONNECTION",
            Error::Refused(_) => "ERR_REFUSED",
            Error::Closed(_) => "ERR_CLOSED",
        }
    }
}

/// What the crate's own functions return.
pub type Result<T> = std::result::Result<T, Error>;
