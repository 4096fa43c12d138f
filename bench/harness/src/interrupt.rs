//! Being asked to stop: a sample that was begun is ended first, so that no server and no file of it stays.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::Failure;

/// Whether Ctrl-C or SIGTERM came. The second one ends the process on the spot.
#[derive(Debug)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the system does not let it.
    pub fn install() -> Result<Self, Failure> {
        let came = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            flag::register_conditional_shutdown(signal, 128 + signal, came.clone())
                .and_then(|_| flag::register(signal, came.clone()))
                .map_err(|error| format!("cannot listen to signals: {error}"))?;
        }
        Ok(Self(came))
    }

    /// # Errors
    /// When a signal came.
    pub fn check(&self) -> Result<(), Failure> {
        match self.0.load(Ordering::Relaxed) {
            true => Err("interrupted".to_owned()),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_heard_and_ends_nothing() {
        let interrupt = Interrupt::install().unwrap();
        assert!(interrupt.check().is_ok());
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(interrupt.check(), Err("interrupted".to_owned()));
    }
}
