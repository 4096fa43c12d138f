//! The Trunkline server and command line.
