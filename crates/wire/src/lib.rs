//! Records, frames and sessions: what Trunkline's bytes mean.
