//! The Rust client: publish, subscribe, request and reply over TCP.
