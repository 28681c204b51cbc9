//! From bytes to a decision: pure, synchronous work on one message at a time.
//!
//! [`decode`] makes numbers or pixels of a payload, [`window`] gathers numbers of one stream,
//! [`preprocess`] makes the tensor that a model wants, [`postprocess`] says what its answer means,
//! [`rules`] decide; [`gate`] spares all that to pictures in which nothing has changed, and [`degrade`] says what is
//! done with less while there is too much.
//! Nothing here knows of time, threads, files or the network; what these stages need of them is
//! handed in.

pub mod decode;
pub mod degrade;
pub mod gate;
pub mod postprocess;
pub mod preprocess;
pub mod rules;
pub mod window;
